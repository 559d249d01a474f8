"""Methods for photographs: all that need no rendered truth, and ours with the true map of a pair that has one."""

from core.params.transfer import with_values
from lab.baselines import METHODS, Case
from lab.baselines.case import Bytes
from lab.photographs.folder import PhotographPair

NEED_RENDERED_TRUTH = ("oracle", "truth")
METHODS_WITHOUT_TRUTH = {name: method for name, method in METHODS.items() if name not in NEED_RENDERED_TRUTH}
DEFAULT_METHODS = ("ours", "moved", "warp", "identity", "colour_transfer")
TRUE_MAP = "true_map"


def true_map(case: Case) -> Bytes:
    """The sampler by the pair's true correspondence, `matching.source` `custom`: what better matches could give."""
    assert isinstance(case.pair, PhotographPair)
    values = {"source": "custom", "custom_map": case.pair.true_map, "landmarks": (), "parts": ()}
    known = with_values(case.params, {f"matching.{name}": value for name, value in values.items()})
    return case.repaint(case.params, case.match(known.matching))


PHOTOGRAPH_METHODS = {**METHODS_WITHOUT_TRUTH, TRUE_MAP: true_map}
