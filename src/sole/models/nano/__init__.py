"""nano: the small video-language model that ships in this package, a real transformers model."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from sole.models.nano.configuration import SoleNanoConfig
from sole.models.nano.modeling import SoleNanoForConditionalGeneration
from sole.models.nano.processing import SoleNanoImageProcessor, SoleNanoProcessor

__all__ = [
    "SoleNanoConfig",
    "SoleNanoForConditionalGeneration",
    "SoleNanoImageProcessor",
    "SoleNanoProcessor",
]

AutoConfig.register("sole_nano", SoleNanoConfig)
AutoModelForImageTextToText.register(SoleNanoConfig, SoleNanoForConditionalGeneration)
AutoImageProcessor.register(SoleNanoConfig, SoleNanoImageProcessor)
AutoProcessor.register(SoleNanoConfig, SoleNanoProcessor)
