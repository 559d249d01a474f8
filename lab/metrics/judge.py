"""All figures of one result."""

from lab.metrics.background import score_background
from lab.metrics.colour import score_colour
from lab.metrics.figure import Figure
from lab.metrics.patterns import pattern_questions, score_texture
from lab.metrics.regions import Bytes
from lab.metrics.structure import score_structure, true_borders
from lab.pairs import Pair

FIGURES = (
    "colour_accuracy",
    "colour_de2000",
    "structure_rate",
    "texture_rate",
    "markings_left",
    "background_psnr",
)


class Judge:
    """Judges results of one pair; what depends on the pair alone is worked out once.

    `token_pitch_px` is the side in pixels of the finest attention token of the network.
    """

    def __init__(self, pair: Pair, *, token_pitch_px: float) -> None:
        self._pair = pair
        self._token_pitch_px = token_pitch_px
        self._borders = true_borders(pair)
        self._questions = pattern_questions(pair)

    def __call__(self, result: Bytes) -> dict[str, Figure]:
        """The figures named in `FIGURES` of a picture `[height, width, 3]` of the target's size."""
        colour = score_colour(result, self._pair, self._token_pitch_px)
        texture = score_texture(result, self._questions)
        return {
            "colour_accuracy": colour.accuracy,
            "colour_de2000": colour.de2000,
            "structure_rate": score_structure(result, self._borders),
            "texture_rate": texture.texture_rate,
            "markings_left": texture.markings_left,
            "background_psnr": score_background(result, self._pair),
        }
