"""Pictures of skeletons: strips of poses, films, clips that move on a page, and charts of their joints.

A clip is (frames, joints, dims); a Body says how its joints hang together and which way is up.
"""

from noisette.views.skeletons.body import Body
from noisette.views.skeletons.charts import over_time, telling
from noisette.views.skeletons.films import film
from noisette.views.skeletons.scene import Scene, sheet
from noisette.views.skeletons.stages import stage
from noisette.views.skeletons.stills import denoising, drawing, strips

__all__ = [
    "Body",
    "Scene",
    "denoising",
    "drawing",
    "film",
    "over_time",
    "sheet",
    "stage",
    "strips",
    "telling",
]
