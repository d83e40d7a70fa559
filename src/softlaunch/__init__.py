"""softlaunch: every model launch is a soft launch."""

__version__ = "0.1.0"
