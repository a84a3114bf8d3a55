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


def jit_compiles(
    setting: str, strategy: tf.distribute.Strategy, accumulate: int = 1
) -> bool:
    """Whether XLA compiles the train step under a strategy.

    Args:
        setting: "true" or "false"; "auto": on one accelerator, of a batch in one piece.
            On a CPU oneDNN's convolutions are faster than XLA's; the exchanges between
            replicas cannot be compiled; and XLA runs the pieces of a batch side by
            side, which takes the memory that they are to save.
        strategy: where the step runs.
        accumulate: int. Pieces of a replica's batch.

    Raises:
        ValueError: "true" on several replicas or for several pieces, or an unknown
            setting.
    """
    replicas = strategy.num_replicas_in_sync
    if setting == "auto":
        device = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0])
        return replicas == accumulate == 1 and device.device_type in ("GPU", "TPU")
    if setting not in ("true", "false"):
        raise ValueError(
            "`--jit_compile` must be auto, true or false. Received: "
            f"--jit_compile={setting}."
        )
    if setting == "true" and (replicas > 1 or accumulate > 1):
        raise ValueError(
            "`--jit_compile=true` takes a single replica and a batch in one piece: "
            "exchanges between replicas are not compiled, and compiled pieces save no "
            f"memory. Received: replicas={replicas}, accumulate={accumulate}. Take "
            "--jit_compile=auto."
        )
    return setting == "true"
