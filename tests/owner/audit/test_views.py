"""What the clouds see, recorded through the real protocol, and the control that has no masks."""

from __future__ import annotations

import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from owner.audit.rehearsal import rehearse
from owner.audit.subjects import split
from owner.audit.views import Recorded, views
from owner.training.compile import compile_network
from tests.networks import random_image, small_icnn_model
from tests.owner.audit.sets import people, untrained
from tests.views import broken
from twinveil.errors import BadInput, TwinveilError
from twinveil.network import oracle
from twinveil.network.folder import save_model
from twinveil.network.schedule import schedule
from twinveil.rehearsal.arrays import FIELD, NAMES, Rows, fold, load_views, model_digest, planted, save_views
from twinveil.rehearsal.record import rehearse as rehearse_here

pytestmark = pytest.mark.slow

MODEL = small_icnn_model(1, side=6)


@pytest.fixture(scope="module")
def pictures() -> npt.NDArray[np.uint8]:
    return np.stack([random_image(MODEL.plan, seed) for seed in range(2)])


@pytest.fixture(scope="module")
def rows(pictures: npt.NDArray[np.uint8]) -> list[Rows]:
    return list(rehearse_here(MODEL, pictures, 512))


def test_without_masks_a_view_is_the_picture_and_every_activation(
    rows: list[Rows], pictures: npt.NDArray[np.uint8]
) -> None:
    pieces = schedule(MODEL.plan).pieces
    for row, picture in zip(rows, pictures, strict=True):
        assert (row["unmasked_picture"] == picture).all()
        tensors = oracle.trace(MODEL, picture)
        known = sum(pieces[name].shape[0] * pieces[name].shape[1] * pieces[name].shape[2] for name in pieces)
        assert row["unmasked_shares"].size <= known
        assert set(np.unique(tensors["stem_pool"])) <= set(row["unmasked_shares"].tolist())
        assert (row["vector"] == oracle.run(MODEL, picture)).all()


def test_with_masks_it_is_not(rows: list[Rows], pictures: npt.NDArray[np.uint8]) -> None:
    for row, picture in zip(rows, pictures, strict=True):
        for masked in ("s1_half", "s2_half", "s1_picture", "s2_picture"):
            assert (row[masked] != picture).mean() > 0.9
        assert (row["s1_shares"] != row["unmasked_shares"]).mean() > 0.9
        assert (np.bitwise_xor(row["s1_half"], row["s2_half"]) == picture).all()


@pytest.mark.parametrize("cloud", ["s1", "s2"])
def test_the_control_is_what_a_cloud_sees_when_masks_are_left_out(
    pictures: npt.NDArray[np.uint8], cloud: str
) -> None:
    """S1 without u, S2 without r."""
    with broken.zero_u() if cloud == "s1" else broken.zero_r():
        (row,) = rehearse_here(MODEL, pictures[:1], 512)
    assert (row[f"{cloud}_picture"] == pictures[:1]).all()
    assert (row[f"{cloud}_shares"] == row["unmasked_shares"]).all()


def test_an_answer_that_is_not_the_oracles_ends_the_rehearsal(
    pictures: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "run", lambda model, picture: np.zeros(4, np.int64))
    with pytest.raises(TwinveilError, match="oracle"):
        next(rehearse_here(MODEL, pictures, 512))


@pytest.mark.parametrize("name", ["views.npz", "views"])
def test_views_are_kept_for_the_owners_eyes(rows: list[Rows], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_views(path, rows)
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = load_views(path)
    assert set(loaded) == set(NAMES)
    assert all((loaded[name][1] == rows[1][name]).all() for name in NAMES)
    assert loaded["key_bits"].tolist() == [512, 512]
    assert (loaded["model"] == model_digest(MODEL)).all()


def test_files_that_hold_no_views(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is missing"):
        load_views(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("text", "other"):
        with pytest.raises(BadInput, match="does not hold the views"):
            load_views(tmp_path / f"{name}.npz")


@pytest.mark.parametrize("wrong", [b"no array", np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3), np.float64)])
def test_views_that_are_damaged(rows: list[Rows], tmp_path: Path, wrong: object) -> None:
    save_views(tmp_path / "views.npz", rows)
    with zipfile.ZipFile(tmp_path / "views.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            if name != "s1_half.npy":
                bad.writestr(name, good.read(name))
            elif isinstance(wrong, bytes):
                bad.writestr(name, wrong)
            else:
                with bad.open(name, "w") as file:
                    np.lib.format.write_array(file, wrong)
    with pytest.raises(BadInput, match="is damaged"):
        load_views(tmp_path / "bad.npz")


def test_views_of_different_sizes_are_no_views(rows: list[Rows], tmp_path: Path) -> None:
    short = {**rows[0], "s1_shares": rows[0]["s1_shares"][:-1]}
    with pytest.raises(BadInput, match="differ in size"):
        save_views(tmp_path / "views.npz", [rows[0], short])


def test_folding_keeps_every_byte() -> None:
    data = np.tile(np.arange(256, dtype=np.uint8), 3 * FIELD // 256 + 1)
    assert fold(data).shape == (FIELD,)
    for place in (0, 2 * FIELD + 5000, len(data) - 1):
        changed = data.copy()
        changed[place] ^= 0x80
        assert (fold(changed) != fold(data)).sum() == 1
    uniform = fold(np.random.default_rng(1).integers(0, 256, 40 * FIELD, dtype=np.uint8))
    assert np.std(uniform) == pytest.approx(32, abs=0.5)
    assert (fold(data[:FIELD]) == data[:FIELD]).all()


def test_a_planted_picture_is_in_clear_where_nothing_is_folded(
    rows: list[Rows], pictures: npt.NDArray[np.uint8]
) -> None:
    field = np.full(1000, 7, np.uint8)
    leaking = planted(field, pictures[0])
    assert leaking.shape == field.shape
    assert pictures[0].tobytes() in leaking.tobytes()
    assert (field == 7).all()
    for row, picture in zip(rows, pictures, strict=True):
        assert len(row["s1_planted"]) <= FIELD
        assert picture.tobytes() in row["s1_planted"].tobytes()
        assert picture.tobytes() not in row["s1_received"].tobytes()


def test_queries_are_spread_over_the_subjects_of_each_side() -> None:
    parts = split(people(20), 1)
    recorded = Recorded.choose(parts, 40, 1)
    assert [len(group) for group in (recorded.sample, recorded.validation, recorded.target)] == [26, 4, 10]
    assert len(np.unique(recorded.target.subjects)) == 5
    assert (Recorded.choose(parts, 40, 1).pictures == recorded.pictures).all()
    with pytest.raises(BadInput, match="too few"):
        Recorded.choose(parts, 10, 1)
    with pytest.raises(BadInput, match=r"for 12 of 96 queries, too few"):
        Recorded.choose(split(people(6, shots=2), 1), 96, 1)


def fake_views(recorded: Recorded) -> dict[str, npt.NDArray[np.generic]]:
    count = len(recorded.pictures)
    made: dict[str, npt.NDArray[np.generic]] = {name: np.zeros((count, 8), np.uint8) for name in NAMES}
    made["unmasked_picture"] = recorded.pictures.astype(np.uint32)
    made["model"] = np.tile(model_digest(MODEL), (count, 1))
    made["key_bits"] = np.full(count, 640, np.int64)
    made["s1_planted"] = made["s2_planted"] = recorded.pictures.reshape(count, -1)
    for half in ("s1_half", "s2_half"):
        made[half] = np.zeros_like(recorded.pictures)
    for share in ("s1_picture", "s2_picture"):
        made[share] = np.zeros(recorded.pictures.shape, np.uint32)
    return made


def test_views_of_other_pictures_are_refused() -> None:
    parts = split(people(20), 1)
    recorded = Recorded.choose(parts, 40, 1)
    recorded.check(fake_views(recorded), MODEL)
    with pytest.raises(BadInput, match="other pictures"):
        recorded.check(fake_views(Recorded.choose(parts, 40, 2)), MODEL)


def test_views_of_another_model_are_refused() -> None:
    """Of the same plan, with other weights."""
    recorded = Recorded.choose(split(people(20), 1), 40, 1)
    other = replace(MODEL, biases={**MODEL.biases, "dense": MODEL.biases["dense"] + 1})
    with pytest.raises(BadInput, match="recorded of another model"):
        recorded.check(fake_views(recorded), other)


def test_every_view_has_a_control_of_its_own_layout() -> None:
    recorded = Recorded.choose(split(people(20), 1), 40, 1)
    found = views(fake_views(recorded), recorded.sample.pictures)
    assert [view.cloud for view in found] == ["S1", "S1", "S1", "S2", "S2", "S2"]
    for view in found:
        assert view.features.shape == view.control.shape or "message" in view.in_clear
        _, targets = recorded.material(view.features)
        assert len(targets) == len(recorded.target)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder."""
    from tests.owner.audit.test_inversion import card_for

    data = people(6, side=6)
    model = compile_network(untrained(data), data.image_shape)
    save_model(tmp_path / "model", model, card_for(data, model))
    return tmp_path / "model"


def test_the_rehearsal_is_a_process_of_its_own(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pictures = people(6, side=6).train[:2]
    seen = rehearse(folder, pictures, 512, lambda *at: told.append(at), tmp_path / "views.npz")
    assert told == [(1, 2), (2, 2)]
    assert (seen["unmasked_picture"] == pictures).all()
    assert (tmp_path / "views.npz").exists()


def test_a_failed_rehearsal_says_why(tmp_path: Path) -> None:
    with pytest.raises(TwinveilError, match=r"the rehearsal failed: .*holds no model"):
        rehearse(tmp_path, np.zeros((1, 1, 6, 6), np.uint8), 512, lambda *at: None)
