"""Licenses of weights: said before anything is downloaded, and accepted by name."""

from collections.abc import Sequence

from extract.encoder_spec import EncoderSpec
from triher.errors import StopRun


def require_license(spec: EncoderSpec, accepted: Sequence[str]) -> None:
    """Let weights under terms of their own be downloaded only by who accepted them.

    Weights under an ordinary open license that is known here pass. Files that are on this machine already are never
    asked about (`extract.weights.locate_weights`).

    Args:
        spec: the encoder.
        accepted: names of encoders whose terms were accepted, ``extract.accept_license``.

    Raises:
        StopRun: ``license_unaccepted`` with license, terms and page.
    """
    if not spec.needs_consent or spec.name in accepted:
        return
    limit = ", not for commercial use" if spec.non_commercial else ""
    message = (
        f"the weights of encoder '{spec.name}' are under {spec.license}{limit}; they are downloaded only once you "
        f"have accepted its terms: {spec.page}"
    )
    remedy = (
        f"read the terms, then set extract.accept_license=[{spec.name}], or place the file in extract.weights_dir"
    )
    raise StopRun("license_unaccepted", message, remedy=remedy)
