"""Model folders and cards: whole or not there, and nothing foreign gets in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.networks import random_model, small_icnn_model
from twinveil.errors import BadInput, ModelExists
from twinveil.network import folder as model_files
from twinveil.network.card import ModelCard, check_class_names
from twinveil.network.folder import (
    CARD,
    FLOAT,
    PLAN,
    QUANTISED,
    check_folder,
    find_model,
    load_card,
    load_float_tensors,
    load_model,
    load_plan,
    save_model,
)
from twinveil.network.plan import QuantisedModel
from twinveil.wording import visible

FILES = (PLAN, CARD, QUANTISED)


def card_of(model: QuantisedModel, name: str = "small") -> ModelCard:
    return ModelCard(
        name=name,
        version="1.2",
        data_set="digits",
        image_shape=model.plan.image_shape,
        class_names=tuple("Straße" + str(n) for n in range(model.plan.output.out_features)),
        polarity="light-on-dark",
        crop="centre",
        seed=3,
        epochs=4,
        training_pictures=100,
        held_out_pictures=20,
        accuracy_float=0.95,
        accuracy_fixed=1,
        plan_hash=model.plan.hash.hex(),
        twinveil_version="0.1.0",
    )


@pytest.fixture
def model() -> QuantisedModel:
    return small_icnn_model(1)


@pytest.fixture
def folder(tmp_path: Path, model: QuantisedModel) -> Path:
    save_model(tmp_path / "small", model, card_of(model), {"dense.weight": np.eye(3, dtype=np.float32)})
    return tmp_path / "small"


@pytest.mark.parametrize("seed", range(5))
def test_a_model_comes_back_as_it_was_saved(tmp_path: Path, seed: int) -> None:
    model = random_model(seed)
    save_model(tmp_path / "deep" / "model", model, card_of(model))
    stored = load_model(tmp_path / "deep" / "model")
    assert stored.card == card_of(model)
    assert stored.model.plan == model.plan
    assert all((stored.model.weights[n] == w).all() for n, w in model.weights.items())
    assert all((stored.model.biases[n] == b).all() for n, b in model.biases.items())
    assert all(w.dtype == np.int64 for w in stored.model.weights.values())


def test_parts_can_be_read_alone(folder: Path, model: QuantisedModel) -> None:
    assert load_plan(folder) == model.plan
    assert load_card(folder).picture.image_shape == (1, 12, 12)
    assert (load_float_tensors(folder)["dense.weight"] == np.eye(3)).all()


def test_reading_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from twinveil.network.folder import load_model; "
        f"load_model({str(folder)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_existing_folder_is_only_replaced_on_demand(folder: Path) -> None:
    other = small_icnn_model(2)
    with pytest.raises(ModelExists):
        save_model(folder, other, card_of(other))
    save_model(folder, other, card_of(other), replace=True)
    assert load_model(folder).model.plan == other.plan
    assert [path.name for path in folder.parent.iterdir()] == ["small"]
    assert not (folder / FLOAT).exists()


def test_a_model_that_is_replaced_while_it_is_read_is_not_mixed(
    folder: Path, model: QuantisedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same plan with other weights, and another card."""
    honest = model_files.load_card

    def meanwhile(path: Path) -> ModelCard:
        save_model(folder, model, card_of(model), replace=True)
        return honest(path)

    monkeypatch.setattr(model_files, "load_card", meanwhile)
    with pytest.raises(BadInput, match="was replaced while it was read: try again"):
        load_model(folder)


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path: Path, model: QuantisedModel) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("diary")
    with pytest.raises(ModelExists):
        save_model(tmp_path / "letters", model, card_of(model), replace=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "diary"


@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("replacing", [False, True])
def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, model: QuantisedModel, monkeypatch: pytest.MonkeyPatch, nth: int, replacing: bool
) -> None:
    place = tmp_path / "small"
    if replacing:
        save_model(place, model, card_of(model))
    calls = []

    def interrupted(handle: int) -> None:
        calls.append(handle)
        if len(calls) > nth:
            raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    other = small_icnn_model(2)
    with pytest.raises(KeyboardInterrupt):
        save_model(place, other, card_of(other), replace=True)
    if replacing:
        assert load_model(place).model.plan == model.plan
    assert [path.name for path in tmp_path.iterdir()] == (["small"] if replacing else [])


def test_a_failed_exchange_puts_the_old_model_back(
    folder: Path, model: QuantisedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    other = small_icnn_model(2)
    with pytest.raises(BadInput, match="No space left"):
        save_model(folder, other, card_of(other), replace=True)
    monkeypatch.undo()
    assert load_model(folder).model.plan == model.plan
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_a_model_that_a_link_names_takes_the_place_of_the_one_there(
    folder: Path, model: QuantisedModel
) -> None:
    link = folder.with_name("newest")
    link.symlink_to("small")
    other = small_icnn_model(2)
    with pytest.raises(ModelExists):
        save_model(link, other, card_of(other))
    save_model(link, other, card_of(other), replace=True)
    assert link.is_symlink()
    assert load_model(folder).model.plan == load_model(link).model.plan == other.plan
    assert sorted(path.name for path in folder.parent.iterdir()) == ["newest", "small"]


def test_a_link_to_nothing_is_followed_and_a_circle_refused(tmp_path: Path, model: QuantisedModel) -> None:
    (tmp_path / "link").symlink_to("later")
    save_model(tmp_path / "link", model, card_of(model))
    assert load_model(tmp_path / "later").model.plan == model.plan
    (tmp_path / "circle").symlink_to("circle")
    for check in (check_folder, lambda path, replace: save_model(path, model, card_of(model))):
        with pytest.raises(BadInput, match="a link that leads nowhere"):
            check(tmp_path / "circle", replace=False)


def test_a_new_model_counts_though_the_old_one_cannot_be_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree = shutil.rmtree

    def stuck(path: Path, ignore_errors: bool = False, **options: object) -> None:
        if str(path).endswith(".old"):
            if not ignore_errors:
                raise PermissionError(1, "Operation not permitted")
        else:
            rmtree(path, ignore_errors, **options)

    other = small_icnn_model(2)
    monkeypatch.setattr(shutil, "rmtree", stuck)
    save_model(folder, other, card_of(other), replace=True)
    assert load_model(folder).model.plan == other.plan


def test_a_trained_model_is_found_among_what_else_is_there(
    tmp_path: Path, model: QuantisedModel, caplog: pytest.LogCaptureFixture
) -> None:
    trained = tmp_path / "models"
    for name in ("small@1", "small@1.10", "small@1.9"):
        save_model(trained / name, model, card_of(model))
    for name in (b"small@1.bak", b"small@1 (copy)", b"\xff@1", b".small@3", b"small@"):
        shutil.copytree(trained / "small@1", trained / os.fsdecode(name))
    (trained / "small@2").touch()
    assert find_model("small", tmp_path) == trained / "small@1.10"
    assert find_model("small@1", tmp_path) == trained / "small@1"
    assert len(caplog.records) == 4
    for name in ("small@2", "**", "[", "large"):
        with pytest.raises(BadInput, match=r"nor a trained model \(in .*: small@1, small@1.9, small@1.10\)"):
            find_model(name, tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise", "swapped", "folder"])
def test_damaged_and_foreign_files_are_one_clear_line(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "noise":
            path.write_bytes(np.random.default_rng(0).bytes(len(content)))
        case "swapped":
            path.write_bytes((folder / FILES[(FILES.index(name) + 1) % 3]).read_bytes())
        case "folder":
            path.mkdir()
    with pytest.raises(BadInput) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_parts_of_two_models_do_not_mix(folder: Path, tmp_path: Path) -> None:
    other = random_model(4)
    save_model(tmp_path / "other", other, card_of(other))
    for name in FILES:
        mixed = tmp_path / f"mixed-{name}"
        mixed.mkdir()
        for part in FILES:
            (mixed / part).write_bytes(
                ((tmp_path / "other") if part == name else folder).joinpath(part).read_bytes()
            )
        with pytest.raises(BadInput):
            load_model(mixed)


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path, model: QuantisedModel) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        save_model(tmp_path / "file" / "model", model, card_of(model))


def test_cards_keep_every_field(model: QuantisedModel) -> None:
    card = card_of(model)
    assert ModelCard.from_json(card.to_json()) == card
    assert "Straße0" in card.to_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "../evil"),
        ("name", "Upper"),
        ("name", 7),
        ("version", "one"),
        ("version", "1.2.3.4"),
        ("image_shape", [1, 28]),
        ("image_shape", [1, 0, 28]),
        ("image_shape", "abc"),
        ("class_names", ["only"]),
        ("class_names", [1, 2, 3, 4]),
        ("class_names", None),
        ("polarity", "upside-down"),
        ("accuracy_fixed", 1.5),
        ("accuracy_fixed", float("nan")),
        ("accuracy_float", True),
        ("epochs", -1),
        ("seed", 1.5),
        ("crop", "x" * 2000),
        ("unknown", 1),
    ],
)
def test_bad_cards_are_refused(model: QuantisedModel, name: str, value: object) -> None:
    data = json.loads(card_of(model).to_json())
    data[name] = value
    with pytest.raises(BadInput):
        ModelCard.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '"x"', "1", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_card_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadInput):
        ModelCard.from_json(text)


def test_a_card_of_another_plan_is_not_saved(tmp_path: Path, model: QuantisedModel) -> None:
    with pytest.raises(BadInput):
        save_model(tmp_path / "x", model, replace(card_of(model), plan_hash="00" * 32))
    assert not (tmp_path / "x").exists()


def test_of_several_versions_the_newest_is_found_and_no_copy_beside_them(
    tmp_path: Path, model: QuantisedModel
) -> None:
    for name in ("small@1.9", "small@1.10", "small@1.10.bak", "small@", "small@\u0663", "smaller@2"):
        save_model(tmp_path / "models" / name, model, card_of(model))
    assert find_model("small", tmp_path).name == "small@1.10"
    assert find_model("small@1.9", tmp_path).name == "small@1.9"
    for name in ("*", "sm[a]ll", "small@1.10.bak", "small@3"):
        with pytest.raises(BadInput, match="is neither a model's folder nor a trained model"):
            find_model(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f373"]
)
def test_joiners_between_letters_belong_to_a_name(name: str) -> None:
    check_class_names([name, "other"])
    assert visible(name).isprintable()  # as a terminal shows it


@pytest.mark.parametrize(
    "names",
    [["\u200dcat", "b"], ["cat\u200c", "b"], ["c\u200d\u200dt", "b"], ["\u200d", "b"], ["c\u200bt", "b"]],
)
def test_other_invisible_letters_do_not(names: list[str]) -> None:
    with pytest.raises(BadInput, match="printable letters"):
        check_class_names(names)


def test_a_joiner_tells_no_two_names_apart() -> None:
    with pytest.raises(BadInput, match="each with a name of its own"):
        check_class_names(["cat", "c\u200dat"])
