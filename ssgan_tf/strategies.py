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
