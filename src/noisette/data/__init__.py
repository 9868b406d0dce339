"""Data floor: any images in, one uint8 array out.

`load(DataSpec("digits"))` gives an ImageData. The training stream, which needs torch, is in noisette.data.stream, the
statistics of the preflight in noisette.data.inspect.
"""

from noisette.data.pipeline import load
from noisette.data.sources import SOURCES
from noisette.data.spec import NORMALISER, DataSpec, ImageData, denormalise, normalise

__all__ = ["NORMALISER", "SOURCES", "DataSpec", "ImageData", "denormalise", "load", "normalise"]
