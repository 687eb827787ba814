"""The command that lists the encoders: what they take, what they give, and under which license."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from triher.printing import plain, show

if TYPE_CHECKING:
    from extract.encoders import EncoderSpec

EncoderName = Annotated[
    str, typer.Argument(help="An encoder, also timm:MODEL, open_clip:MODEL/TAG or hf:OWNER/NAME.", show_default=False)
]


def encoders(name: EncoderName = "") -> int:
    """List the encoders, or all facts of one with its license and citation."""
    from extract.encoders import encoder_table, find_encoder

    if name:
        spec = find_encoder(name)
        show(spec.name, ("", ""), _facts(spec))
        return 0
    table = Table(title="Encoders", title_justify="left")
    for column in ("encoder", "input", "features", "license"):
        table.add_column(column, no_wrap=column != "license")
    for row in encoder_table():
        terms = f" ({row.consent})" if row.consent else ""
        table.add_row(row.name, row.input, row.features, plain(row.license + terms))
    Console().print(table)
    typer.echo("Others: timm:MODEL, open_clip:MODEL/TAG, hf:OWNER/NAME, file:MODEL@CHECKPOINT, file:PATH.")
    typer.echo("'triher encoders NAME' says the rest: weights, terms, citation, what to keep in mind.")
    return 0


def _facts(spec: "EncoderSpec") -> list[tuple[str, str]]:
    """What is known of an encoder, one fact a row."""
    from extract.encoder_spec import TRAINED
    from extract.weights import slug

    crop = "z-scored crop" if spec.dimensions == 3 else f"picture, {spec.interpolation}"
    terms = "an ordinary open license"
    if spec.needs_consent:
        limits = ["not for commercial use"] * spec.non_commercial + ["to be accepted on its page"] * spec.gated
        terms = f"{'; '.join(limits)}; then set extract.accept_license=[{spec.name}]"
    facts = {
        "network": f"{spec.model} ({spec.builder})",
        "weights": f"{spec.weights}, revision {spec.revision}" if spec.weights.startswith("hub:") else spec.weights,
        "SHA-256": spec.sha256,
        "placed by hand as": spec.weights
        and f"{slug(spec.name)}.safetensors (.pth, .pt, .bin) in extract.weights_dir",
        "input": f"{spec.input_text}, {crop}" if spec.input_size else spec.input_text,
        "mean, std": f"{spec.mean}, {spec.std}" if spec.dimensions == 2 and spec.input_size else "",
        "features": str(spec.features or "known once it is built"),
        "license": spec.license,
        "terms": terms,
        "page": spec.page,
        "citation": spec.citation,
        "keep in mind": spec.caution,
    }
    if not spec.weights or spec.builder == TRAINED:
        del facts["placed by hand as"]
    return [(fact, value) for fact, value in facts.items() if value]
