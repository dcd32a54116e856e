"""An audit as plain data, for JSON: every figure, every setting, every seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from owner.audit.advice import choices
from owner.audit.findings import AttackedFeatures, Inverted, ViewAttacked
from owner.audit.material import BRIGHTNESS, CONTRAST, DISTORTIONS
from owner.audit.metrics import SSIM_SIGMA, SSIM_WINDOW
from owner.audit.permutation import VERDICT
from owner.audit.risk import CONFIDENCE, DRAWS, FORMULA, STRONG_ENOUGH
from twinveil.version import VERSION


@dataclass(frozen=True, slots=True)
class Subject:
    """What was audited, in words: the model, and the command that repeats it."""

    model: str
    command: str


def to_json(audit: Inverted, subject: Subject) -> dict[str, Any]:
    split = audit.split
    return {
        "audit": "inversion",
        "twinveil_version": VERSION,
        "model": subject.model,
        "command": subject.command,
        "data_set": split.name,
        "split": {
            "by": split.by,
            "in_words": split.describe(),
            "sample_pictures": len(split.sample),
            "validation_pictures": len(split.validation),
            "target_pictures": len(split.target),
            "target_classes": sorted({split.class_names[label] for label in split.target.labels.tolist()}),
        },
        "recogniser_accuracy_on_targets": audit.accuracy,
        "settings": settings(audit),
        "attacker_strength": [
            {"features": each.kind, "ssim": each.ssim, "wanted": STRONG_ENOUGH, "passed": each.passed}
            for each in audit.strengths
        ],
        "layers": [_attacked(each) for each in audit.layers],
        "views": [_view(each) for each in audit.views],
        "release": [
            {"choice": each.name, "level": each.level, "risk": asdict(each.risk) if each.risk else None}
            | {"advice": each.advice}
            for each in choices(audit)
        ],
    }


def settings(audit: Inverted) -> dict[str, Any]:
    options = audit.options
    return {
        "seed": options.attack.seed,
        "attackers": list(options.attackers),
        "epochs_at_most": options.attack.epochs,
        "patience": options.attack.patience,
        "batch": options.attack.batch,
        "learning_rate": options.attack.learning_rate,
        "sample_distortions": asdict(DISTORTIONS) | {"contrast": CONTRAST, "brightness": BRIGHTNESS},
        "ssim": f"Gaussian window {SSIM_WINDOW} x {SSIM_WINDOW}, sigma {SSIM_SIGMA}",
        "risk_formula": FORMULA,
        "thresholds": asdict(options.thresholds),
        "confidence": f"{CONFIDENCE:.0%} bootstrap over target subjects, {DRAWS} draws",
        "mask": audit.mask.digest if audit.mask else None,
        "recorded_queries": audit.queries,
        "verdict_on_views": VERDICT,
        "rehearsal_key_bits": audit.key_bits,
    }


def _attacked(each: AttackedFeatures) -> dict[str, Any]:
    return {
        "name": each.name,
        "shape": list(each.shape),
        "attacker": f"{each.architecture}, {each.kind}",
        "risk": asdict(each.risk),
        "level": each.level,
        "measures": each.comparison.means(),
        "validation_ssim": list(each.history),
        "best_epoch": each.best_epoch,
        "seconds": round(each.seconds, 1),
    }


def _view(each: ViewAttacked) -> dict[str, Any]:
    return {
        "cloud": each.cloud,
        "verdict": each.verdict,
        "p": each.p,
        "p_control": each.control_p,
        "control": each.in_clear,
        "attack": _attacked(each.attack),
        "control_attack": _attacked(each.control),
    }
