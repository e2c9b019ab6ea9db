"""What the CPU is, without torch."""


def cpu_name() -> str:
    """Return the model of this machine's CPU, or "CPU" where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        models = []
    return models[0] if models else "CPU"
