"""Writes modules in the format of TensorFlow 1, as TF-Hub did for compare_gan's.

    python tests/tf1_modules.py folder weights.npz '{"name": [graph, ...], ...}'

They have reference variables, control flow of version 1, and constants instead of
placeholders for inputs of a fixed batch. A graph is a dict with `tags`; `model`: "gen",
"disc", "both" for the two signatures of the oldest modules, "truncated" for a generator
with an extra input; `batch`, which may be null; `labels`: "one-hot" or "gather"; and
`accumulated`: the number of batches in the batch norm's accumulators.
"""

import json
import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
folder, weights, modules = sys.argv[1:]
weights = dict(np.load(weights))
CLASSES, PIXELS = weights["g_labels"].shape
SHAPE = (4, 4, 3)


def variable(name, value=None):
    value = weights[name] if value is None else value
    # Both kinds of variables, as in published modules.
    return tf.get_variable(
        name, dtype=value.dtype, initializer=value, use_resource=name == "g_bias"
    )


def batch_of(batch, shape, dtype=tf.float32):
    make = tf.placeholder if batch is None else tf.zeros
    return make(shape=(batch, *shape), dtype=dtype)


def accumulated(inputs, count):
    mean, variance = (variable(f"accu_{m}") for m in ("mean", "variance"))
    counter = variable("accu_counter", np.float32(count))
    update = variable("update_accus", np.int32(0))

    def add():
        return tf.group(tf.assign_add(counter, 1.0), tf.assign_add(mean, mean))

    with tf.control_dependencies([tf.cond(tf.equal(update, 1), add, tf.no_op)]):
        mean, variance = mean / counter, variance / counter
    return tf.nn.batch_normalization(inputs, mean, variance, None, None, 1e-3)


def generator(graph, z, labels):
    pixels = tf.matmul(z, variable("g_kernel")) + variable("g_bias")
    if graph.get("accumulated"):
        pixels = accumulated(pixels, graph["accumulated"])
    if labels is not None:
        kernel = variable("g_labels")
        if graph["labels"] == "one-hot":
            pixels += tf.matmul(tf.one_hot(tf.identity(labels), CLASSES), kernel)
        else:
            pixels += tf.gather(kernel, labels)
    return tf.reshape(tf.sigmoid(pixels), (-1, *SHAPE))


def discriminator(graph, images, labels):
    pixels = tf.reshape(images, (-1, PIXELS))
    logits = tf.matmul(pixels, variable("d_kernel"))
    if labels is not None:
        logits += tf.matmul(tf.one_hot(labels, CLASSES), variable("d_labels"))
    return tf.sigmoid(logits)


def signatures(graph):
    batch, tensors = graph["batch"], {}
    labels = batch_of(batch, (), tf.int32) if graph.get("labels") else None
    more = {} if labels is None else {"labels": labels}
    if graph["model"] != "disc":
        z = batch_of(batch, weights["g_kernel"].shape[:1])
        images = generator(graph, z, labels)
        images.set_shape((batch, *SHAPE))
        inputs, outputs = {"z": z, **more}, {"generated": images}
        if graph["model"] == "truncated":
            inputs["truncation"] = batch_of(None, ())
        if graph["model"] == "both":
            inputs = {"default": z}
            outputs["blocks"] = tf.identity(images[:, :1])
        tensors["generator" if graph["model"] == "both" else "default"] = (
            inputs,
            outputs,
        )
    if graph["model"] in ("disc", "both"):
        images = batch_of(batch, SHAPE)
        prediction = discriminator(graph, images, labels)
        key = "discriminator" if graph["model"] == "both" else "default"
        tensors[key] = {"images": images, **more}, {"prediction": prediction}
    return {
        key: tf.saved_model.signature_def_utils.predict_signature_def(*pair)
        for key, pair in tensors.items()
    }


for name, graphs in json.loads(modules).items():
    builder = tf.saved_model.Builder(os.path.join(folder, name))
    # The variables of all graphs are saved with the first one.
    with tf.Graph().as_default(), tf.Session() as session:
        for graph in graphs:
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                signatures(graph)
        session.run(tf.global_variables_initializer())
        builder.add_meta_graph_and_variables(session, ["to be dropped"])
    for graph in graphs:
        with tf.Graph().as_default():
            built = signatures(graph)
            builder.add_meta_graph(graph["tags"], signature_def_map=built)
    del builder._saved_model.meta_graphs[0]
    builder.save()
