"""The command line: verbs only. torch is imported when a verb needs it, so that --help is instant."""

from noisette.cli import explaining, looking, measuring, reporting, sharing, training  # each registers its verbs
from noisette.cli.frame import app, dotted, main

__all__ = ["app", "dotted", "explaining", "looking", "main", "measuring", "reporting", "sharing", "training"]
