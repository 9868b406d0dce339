"""The command line: verbs only. torch is imported when a verb needs it, so that --help is instant."""

from noisette.cli import (  # each registers its verbs
    doctoring,
    explaining,
    looking,
    measuring,
    reporting,
    sharing,
    studying,
    training,
)
from noisette.cli.frame import app, dotted, main

__all__ = [
    "app",
    "doctoring",
    "dotted",
    "explaining",
    "looking",
    "main",
    "measuring",
    "reporting",
    "sharing",
    "studying",
    "training",
]
