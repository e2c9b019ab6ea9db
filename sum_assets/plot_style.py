"""Colors and axes that all plots share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The palette of Okabe and Ito (Color Universal Design, 2008): people with color blindness tell these apart.
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#e69f00", "#009e73", "#cc79a7"
SKY, VERMILION, YELLOW, BLACK = "#56b4e9", "#d55e00", "#f0e442", "#000000"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, BLACK)

#: Lines and marks that carry no category: reference lines, what is unknown, the grid.
DARK, GRAY, LIGHT = "#222222", "#999999", "#dddddd"


def style_axes(axes: "Axes", title: str = "", fontsize: float | None = None) -> None:
    """Put the title on the left, and leave out the frame's top and right."""
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontsize=fontsize)
