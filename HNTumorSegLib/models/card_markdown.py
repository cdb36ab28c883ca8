"""A model card as a page to read; ``Resources/ModelCards`` holds those of the bundled models."""

from __future__ import annotations

from HNTumorSegLib.models.card import LOW, ModelCard, figures_in_words

RELIABILITY, FAILURES = "reliability.png", "failures.jpg"
CAPTIONS = {
    RELIABILITY: "Reliability: how often a voxel is tumour where the model says so with this probability",
    FAILURES: "The worst of the held-out patients, by DSC of all tumour: axial slice through the largest error",
}
"""By picture, as it ends its file's name."""


def picture_file(model: str, picture: str) -> str:
    """Name of a bundled model's picture beside its page."""
    return f"{model}_{picture}"


def page_pictures(model: str) -> dict[str, str]:
    """The pictures on a bundled model's page, file name to caption."""
    return {picture_file(model, picture): caption for picture, caption in CAPTIONS.items()}


def card_markdown(card: ModelCard, pictures: dict[str, str] | None = None) -> str:
    """The card in Markdown; every figure comes from the card's own ``performance``.

    ``pictures`` (file name to caption) lie beside the page, for instance the reliability diagram.
    """
    recipe = card.recipe
    channels = ", ".join(
        f"{c.image.upper()} {c.window[0]:g} to {c.window[1]:g} {'SUVbw' if c.image == 'pet' else 'HU'}"
        + ("" if c.missing is None else " (may be missing)")
        for c in recipe.channels
    )
    lines = [
        f"# {card.name} {card.version}",
        "",
        card.intended_use,
        "",
        f"**Limits.** {card.limitations}",
        "",
        "| what | |",
        "|---|---|",
        f"| classes | {', '.join(card.classes)} |",
        f"| inputs | {channels} |",
        f"| voxels | {recipe.spacing_mm:g} mm, tiles of {' x '.join(map(str, recipe.patch_zyx))} (z, y, x) |",
        f"| recipe | {recipe.name} ({recipe.source}) |",
        f"| training data | {card.training_data} |",
        f"| licence | {card.licence} |",
        *([f"| network | one, with the mean of the weights of `{card.mean_of}` |"] if card.mean_of else []),
        *[f"| weights | {w.file}, SHA-256 {w.sha256} |" for w in card.weights],
        "",
        *(["## How it was trained", *card.numbered_steps(), ""] if card.training_steps else []),
        "## Where it differs from the publication",
        *[f"- {sentence}" for sentence in recipe.deviations],
        "",
        "## Measured",
    ]
    if card.performance:
        lines += ["| | " + " | ".join(card.performance) + " |", "|---|" + "---|" * len(card.performance)]
        columns = [figures_in_words(figures) for figures in card.performance.values()]
        for name in dict.fromkeys(name for column in columns for name in column):
            lines.append(f"| {name} | " + " | ".join(column.get(name, "") for column in columns) + " |")
        if any(name.endswith(LOW) for figures in card.performance.values() for name in figures):
            lines += ["", "In brackets: the 95 % interval, from a bootstrap over the patients."]
    else:
        lines.append("Nothing yet.")
    for file, caption in (pictures or {}).items():
        lines += ["", f"![{caption}]({file})", "", caption]
    lines += ["", "## Changes", *[f"- {sentence}" for sentence in card.changelog], ""]
    return "\n".join(lines)
