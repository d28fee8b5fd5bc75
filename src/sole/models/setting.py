"""Settings in a model's name, as in ``vllm:MODEL?max_model_len=8192``."""

from __future__ import annotations

from collections.abc import Mapping

from sole.errors import ConfigError

#: Lowest and highest value, and whether it is whole.
Range = tuple[float, float, type[int] | type[float]]


def read_setting(name: str, key: str, text: str, ranges: Mapping[str, Range]) -> int | float:
    """Return the value of one setting of the model ``name``.

    Raises:
        ConfigError: If there is no such setting, or the text is no number within its range.

    Example:
        >>> read_setting("m", "retries", "3", {"retries": (0, 20, int)})
        3
    """
    if key not in ranges:
        raise ConfigError(f"model {name}: no setting {key!r}; expected {', '.join(ranges)}")
    low, high, kind = ranges[key]
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ConfigError(f"model {name}: expected {key} from {low} to {high}, got {text!r}")
    return value
