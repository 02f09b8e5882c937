"""The paper's own grades, given by GPT-4 (Eldan & Li 2023, arXiv 2305.07759)."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """Mean grades of a model."""

    model: str
    grammar: float
    consistency: float
    creativity: float
    source: str


# Of Figure 4, the rows that are also quoted elsewhere; the figure has more.
FIGURE_4 = tuple(
    Row(model, *grades, "paper, Figure 4")
    for model, *grades in (
        ("TinyStories, 64 wide, 8 layers", 6.14, 4.45, 4.68),
        ("TinyStories, 128 wide, 8 layers", 7.23, 7.10, 5.97),
        ("TinyStories, 128 wide, 12 layers", 7.25, 7.20, 6.02),
        ("TinyStories, 256 wide, 4 layers", 7.64, 7.76, 6.32),
        ("TinyStories, 512 wide, 8 layers", 8.34, 8.95, 6.85),
        ("TinyStories, 768 wide, 8 layers", 8.62, 9.34, 7.02),
        ("GPT-2 small, 125M", 5.40, 4.32, 3.70),
        ("GPT-2 large, 774M", 6.43, 6.04, 4.30),
        ("GPT-4", 8.75, 9.93, 8.21),
    )
)

FIGURE_24 = tuple(
    Row(f"TinyStories, 768 wide, {layers} layers, {heads} heads", *grades, "paper, Figure 24")
    for layers, heads, *grades in (
        (2, 2, 7.77, 7.78, 6.50),
        (2, 4, 8.05, 8.16, 6.57),
        (2, 8, 8.25, 8.16, 6.53),
        (1, 2, 7.13, 6.38, 5.83),
        (1, 4, 7.43, 6.75, 5.90),
        (1, 8, 7.45, 7.02, 6.28),
    )
)
