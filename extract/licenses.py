"""Licenses of weights: said before anything is downloaded, and accepted by name."""

from collections.abc import Sequence

from extract.encoder_spec import EncoderSpec
from triher.errors import StopRun


def require_license(spec: EncoderSpec, accepted: Sequence[str]) -> None:
    """Let weights under terms of their own be downloaded only by who accepted them.

    Weights under an ordinary open license pass; so do files that are on this machine already, which are never
    asked about (`extract.weights.locate_weights`).

    Args:
        spec: the encoder.
        accepted: names of encoders whose terms were accepted, ``extract.accept_license``.

    Raises:
        StopRun: ``license_unaccepted`` with license, terms and page.
    """
    if not spec.needs_consent or spec.name in accepted:
        return
    terms = ["not for commercial use"] if spec.non_commercial else []
    terms += ["its terms are to be accepted on its page first, too"] if spec.gated else []
    message = f"the weights of encoder '{spec.name}' are under {spec.license}: {'; '.join(terms)} ({spec.page})"
    remedy = (
        f"read the terms, then set extract.accept_license=[{spec.name}], or place the file in extract.weights_dir"
    )
    raise StopRun("license_unaccepted", message, remedy=remedy)
