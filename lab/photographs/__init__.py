"""A user's own pairs of photographs: no truth, so distances by a feature model that the user names."""

from lab.photographs.features import FeatureModel, FeatureModelError, load_feature_model
from lab.photographs.folder import BadFolder, PhotographPair, read_pairs
from lab.photographs.report import photographs_page, photographs_table
from lab.photographs.run import METHODS_WITHOUT_TRUTH, PhotographPlan, evaluate_photographs

__all__ = [
    "METHODS_WITHOUT_TRUTH",
    "BadFolder",
    "FeatureModel",
    "FeatureModelError",
    "PhotographPair",
    "PhotographPlan",
    "evaluate_photographs",
    "load_feature_model",
    "photographs_page",
    "photographs_table",
    "read_pairs",
]
