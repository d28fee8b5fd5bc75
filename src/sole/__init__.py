"""sole: watches a robot, reasons about each moment and says how far the task is."""

__version__ = "0.1.0"
