"""The circuits of one packed query, in order: public, so both clouds hold the same list."""

from __future__ import annotations

from twinveil.halves.blinding import picture_segment
from twinveil.protocol.circuits import activate, import_picture, label
from twinveil.protocol.garbled import GarbledStep
from twinveil.protocol.packed.layout import PackedLayout


def steps(layout: PackedLayout) -> list[GarbledStep]:
    """Import, SACT and SMAP of each stage, and the label's argmax (used by label-only queries)."""
    plan, pictures = layout.plan, layout.pictures
    picture = picture_segment(plan, pictures, key_bits=layout.key_bits, sigma=layout.sigma)
    return [
        import_picture(layout.schedule, picture, pictures),
        *(activate(layout.schedule, stage, pictures) for stage in layout.schedule.stages[1:-1]),
        label(plan.output.accumulator_bits, plan.output.out_features, pictures),
    ]
