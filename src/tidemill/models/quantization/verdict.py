"""Whether a quantized model is good enough to be taken unasked."""

from dataclasses import dataclass

from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.quantization.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Limits:
    """What the evidence may say at most; each matrix is within its own bound already, or in a wider format."""

    kl_nats: float
    wider_weights_ratio: float


LIMITS: dict[IntegerFormat, Limits] = {
    "int8": Limits(kl_nats=0.05, wider_weights_ratio=0.1),
    "int4": Limits(kl_nats=0.2, wider_weights_ratio=0.1),
}


def why_not(evidence: Evidence) -> str | None:
    """Why the model should not be taken, None if it should."""
    limits, found = LIMITS[evidence.wanted], evidence.model.kl_nats
    if not found <= limits.kl_nats:
        return f"its KL divergence from the float model is {found:.3f} nats, over {limits.kl_nats:g}"
    wider = evidence.wider_weights_ratio
    if wider > limits.wider_weights_ratio:
        return f"{100 * wider:.0f} % of the weights need a wider format, over {100 * limits.wider_weights_ratio:.0f} %"
    return None
