"""Motion: key-point sequences in, clips of one length out.

`load(MotionSpec("motion"))` gives a MotionData. The training stream, which needs torch, is in
noisette.data.motion.stream; `write` puts clips back into files.
"""

from noisette.data.motion.clips import denormalise, normalise
from noisette.data.motion.load import load
from noisette.data.motion.read import is_motion, read
from noisette.data.motion.skeleton import Skeleton, load_skeleton
from noisette.data.motion.spec import Augment, MotionData, MotionSpec
from noisette.data.motion.write import write

__all__ = [
    "Augment",
    "MotionData",
    "MotionSpec",
    "Skeleton",
    "denormalise",
    "is_motion",
    "load",
    "load_skeleton",
    "normalise",
    "read",
    "write",
]
