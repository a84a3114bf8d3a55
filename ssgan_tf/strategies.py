"""The tf.distribute strategy: created here and nowhere else."""

import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored")


def get_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Makes a strategy.

    Args:
        name: "one_device": the first GPU, or the CPU; "mirrored": all GPUs of this
            host, or all its logical CPU devices; "auto": "mirrored" where there are
            several GPUs, else "one_device".

    Raises:
        ValueError: unknown name.
    """
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one_device"
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(gpus[0] if gpus else "/cpu:0")
    if name == "mirrored":
        cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
        return tf.distribute.MirroredStrategy(gpus or cpus)
    raise ValueError(
        f"`--strategy` must be one of {', '.join(STRATEGIES)}. Received: "
        f"--strategy={name}."
    )


def jit_compiles(setting: str, strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA compiles the train step under a strategy.

    Args:
        setting: "true" or "false"; "auto": on one accelerator. On a CPU oneDNN's
            convolutions are faster than XLA's, and the exchanges between replicas
            cannot be compiled.
        strategy: where the step runs.

    Raises:
        ValueError: "true" on several replicas, or an unknown setting.
    """
    replicas = strategy.num_replicas_in_sync
    if setting == "auto":
        device = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0])
        return replicas == 1 and device.device_type in ("GPU", "TPU")
    if setting not in ("true", "false"):
        raise ValueError(
            "`--jit_compile` must be auto, true or false. Received: "
            f"--jit_compile={setting}."
        )
    if setting == "true" and replicas > 1:
        raise ValueError(
            "`--jit_compile=true` takes a single replica: the exchanges between "
            f"replicas are not compiled. Received: replicas={replicas}. Take "
            "--strategy=one_device, or --jit_compile=auto."
        )
    return setting == "true"
