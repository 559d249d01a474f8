"""Rendered scenes whose parts and dense correspondences are known exactly.

`sample_scene(domain, seed, category)` draws one, `render(scene, size)` its picture with labels and canonical
coordinates, `scene.wearing(other)` the truth of a pair, `true_correspondence(target, reference)` the map between two
renderings.
"""

from lab.scenes.captions import describe, training_caption
from lab.scenes.correspondence import TrueCorrespondence, true_correspondence
from lab.scenes.parts import PART_ID, PARTS, Category
from lab.scenes.render import Rendering, render
from lab.scenes.scene import Pose, Scene, sample_scene
from lab.scenes.seeds import Domain, stream

__all__ = [
    "PARTS",
    "PART_ID",
    "Category",
    "Domain",
    "Pose",
    "Rendering",
    "Scene",
    "TrueCorrespondence",
    "describe",
    "render",
    "sample_scene",
    "stream",
    "training_caption",
    "true_correspondence",
]
