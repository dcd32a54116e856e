"""A whole small audit: strengths, layers, choices, report, command."""

from __future__ import annotations

import dataclasses
import json
import re
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from owner.audit import attack, inversion
from owner.audit.advice import choices
from owner.audit.attack import Attacker, AttackOptions, Material, train_attacker
from owner.audit.findings import AttackerStrength, AuditOptions, Inverted
from owner.audit.inversion import Inversion
from owner.audit.permutation import FALSE_ALARM, UNSETTLED
from owner.audit.report import shown, to_html
from owner.audit.results import Subject, to_json
from owner.audit.risk import Risk
from owner.audit.subjects import split
from owner.audit.verbs import audit
from owner.audit.views import Recorded
from owner.training.compile import compile_network
from owner.training.datasets import DataSet
from tests.owner.audit.sets import digits, people, untrained
from tests.owner.audit.test_views import fake_views
from twinveil.errors import BadInput
from twinveil.network.card import ModelCard
from twinveil.network.folder import save_model
from twinveil.network.plan import QuantisedModel
from twinveil.pictures.masks import Mask
from twinveil.rehearsal.arrays import load_views

pytestmark = pytest.mark.slow

FEW = AuditOptions(AttackOptions(epochs=6), layers=("picture", "stem7", "scores", "label"))
RISKY = "<b>&'\""


def card_for(data: DataSet, model: QuantisedModel) -> ModelCard:
    return ModelCard(
        name="small",
        version="1",
        data_set=data.name,
        image_shape=data.image_shape,
        class_names=data.class_names,
        polarity=data.polarity,
        crop="as it is",
        seed=1,
        epochs=1,
        training_pictures=len(data.train),
        held_out_pictures=len(data.held_out),
        accuracy_float=0.5,
        accuracy_fixed=0.5,
        plan_hash=model.plan.hash.hex(),
        twinveil_version="0",
    )


@pytest.fixture(scope="module")
def result() -> Inverted:
    data = dataclasses.replace(people(24, side=8), name=RISKY)
    parts = split(data, 1)
    recorded = Recorded.choose(parts, 96, 1)
    seen = fake_views(recorded)
    seen["s1_planted"] = np.zeros_like(seen["s1_planted"])
    return Inversion(untrained(data), parts, FEW).run(recorded, seen)


def test_the_layers_come_with_everything_that_is_measured(result: Inverted) -> None:
    assert [each.name for each in result.layers] == list(FEW.layers or ())
    picture, label = result.layers[0], result.layers[-1]
    assert picture.kind == "spatial"
    assert label.kind == "flat"
    assert picture.risk.score > label.risk.score
    for each in result.layers:
        means = each.comparison.means()
        assert set(means) == {"attack", "mean_picture", "shuffled"}
        assert set(means["attack"]) == {"ssim", "psnr", "cosine", "recognised", "neighbour"}
        assert each.risk.baseline == max(means["mean_picture"]["ssim"], means["shuffled"]["ssim"])
        assert each.made.shape == result.split.target.pictures.shape
    assert {each.kind for each in result.strengths} == {"flat", "spatial"}


def test_a_weak_attacker_gives_no_low_risk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No linear start, one epoch at next to no learning rate: it cannot even copy the picture."""
    monkeypatch.setattr(attack, "ridge", lambda *_: None)
    weak = AuditOptions(AttackOptions(epochs=1, learning_rate=1e-9), layers=("picture", "stem7"))
    found = Inversion(untrained(people(8)), split(people(8), 1), weak).run()
    assert not found.strengths[0].passed
    assert {each.level for each in found.layers} == {"attacker too weak"}
    assert "attacker too weak" in {choice.level for choice in choices(found)}
    assert "no low risk is claimed" in to_html(found, Subject("m", "c"))


def test_a_view_counts_as_hidden_only_beside_a_control_that_succeeds(result: Inverted) -> None:
    """No view holds anything; the control of S2's share is the picture, that of S1's stream is empty, too."""
    by_name = {view.attack.name: view for view in result.views}
    share, stream = by_name["its share of the picture"], by_name["everything it receives from S2"]
    assert share.control_succeeds
    assert share.control.risk.score > 0.3
    assert share.attack.risk.score < 0.1
    assert share.hidden
    assert not stream.control_succeeds
    assert stream.verdict == "not tested"
    assert not stream.hidden
    assert choices(result)[-1].level == "attacker too weak"


def test_a_view_that_shows_the_picture_gives_something_away(result: Inverted) -> None:
    """The masks of S2's shares left out."""
    recorded = result.recorded
    assert recorded is not None
    seen = fake_views(recorded)
    options = AuditOptions(AttackOptions(epochs=2), layers=("label",))
    audit = Inversion(untrained(people(24, side=8)), result.split, options)
    found = audit.run(recorded, seen | {"s2_picture": seen["unmasked_picture"]})
    verdicts = {view.attack.name: view.verdict for view in found.views}
    assert verdicts["its share of the picture"] == "GIVES SOMETHING AWAY"
    assert verdicts["its shares of every activation"] == "GIVES SOMETHING AWAY"
    last = choices(found)[-1]
    assert last.level == "high"
    assert "S1" not in last.advice


@pytest.mark.parametrize(
    ("plain", "strong", "best"),
    [((0.2, 0.6, 0.1), (0.5, 0.4), "plain"), ((0.2, 0.3), (0.3, 0.4, 0.1), "strong")],
)
def test_two_attackers_and_validation_decides(
    plain: tuple[float, ...], strong: tuple[float, ...], best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best epoch counts, not the last."""
    histories = {"plain": plain, "strong": strong}

    def trained(material: Material, options: AttackOptions, **_: object) -> Attacker:
        attacker = train_attacker(material, dataclasses.replace(options, architecture="plain"))
        name = options.architecture
        return dataclasses.replace(attacker, architecture=name, history=histories[name])

    monkeypatch.setattr(inversion, "train_attacker", trained)
    both = AuditOptions(AttackOptions(epochs=1), attackers=("plain", "strong"), layers=("label",))
    found = Inversion(untrained(people(8)), split(people(8), 1), both).run()
    assert found.layers[0].architecture == best
    assert found.layers[0].history == histories[best]


def test_choices_follow_from_the_layers(result: Inverted) -> None:
    found = {choice.name: choice for choice in choices(result)}
    order = ["weights public", "features shared", "scores returned", "label only", "encrypted protocol"]
    assert list(found) == order
    assert found["features shared"].risk == result.layers[1].risk
    assert found["label only"].risk == result.layers[-1].risk
    assert found["encrypted protocol"].level != "low"
    assert "but only stem7 was measured" in found["weights public"].advice
    two = dataclasses.replace(result, layers=(result.layers[1], *result.layers))
    assert "the worst one measured (stem7)" in choices(two)[0].advice
    bare = dataclasses.replace(result, views=(), layers=result.layers[:1])
    assert {choice.level for choice in choices(bare)} == {"not measured"}


def test_the_protocol_is_recommended_only_when_every_view_is_hidden(result: Inverted) -> None:
    def level(*ps: tuple[float, float]) -> str:
        views = tuple(dataclasses.replace(result.views[0], p=p, control_p=control) for p, control in ps)
        return choices(dataclasses.replace(result, views=views))[-1].level

    hidden, weak, leaking = (0.5, FALSE_ALARM), (0.5, 2 * FALSE_ALARM), (FALSE_ALARM, FALSE_ALARM)
    assert level(hidden) == level(hidden, hidden) == "low"
    assert level(hidden, weak) == "attacker too weak"
    assert level(hidden, weak, leaking) == "high"
    assert level((FALSE_ALARM, 0.5)) == "high"  # a leak needs no control
    close = (UNSETTLED, FALSE_ALARM)
    assert level(hidden, close) == level((2 * FALSE_ALARM, FALSE_ALARM)) == "not settled"
    assert level((UNSETTLED + 1e-5, FALSE_ALARM)) == "low"
    assert level(close, weak) == "attacker too weak"


def test_a_view_that_beats_the_baselines_is_not_settled(result: Inverted) -> None:
    view = dataclasses.replace(result.views[0], p=0.5, control_p=FALSE_ALARM)
    assert view.hidden
    better = dataclasses.replace(view.attack, risk=Risk(0.1, 0.01, 0.2, 0.3))
    view = dataclasses.replace(view, attack=better)
    assert not view.hidden
    assert view.verdict == "not settled, record again"


def test_the_report_needs_no_other_file_and_escapes_names(result: Inverted) -> None:
    page = to_html(result, Subject("model <script>alert(1)</script>", "twinveil audit inversion"))
    assert "<script" not in page
    assert RISKY not in page
    assert not re.search(r"https?://|url\(|<link", page)
    sources = re.findall(r'src="([^"]{0,22})', page)
    assert len(sources) == 3 + len(result.layers) + 3 + 2 * len(result.views)
    assert set(sources) == {"data:image/png;base64,"}
    assert page.count("<svg") == 3
    assert "width=device-width" in page
    means = result.layers[0].comparison.means()
    for measure, form in (("ssim", ".3f"), ("psnr", ".1f"), ("cosine", ".3f"), ("recognised", ".0%")):
        three = (format(means[each][measure], form) for each in ("attack", "mean_picture", "shuffled"))
        assert f"<td>{' / '.join(three)}</td>" in page
    for word in ("Settings and seeds", "Gaussian window", "sigma 1.5", "bootstrap", "seed"):
        assert word in page


def test_the_json_holds_every_figure(result: Inverted) -> None:
    data = json.loads(json.dumps(to_json(result, Subject("m", "twinveil audit inversion"))))
    assert [each["name"] for each in data["layers"]] == list(FEW.layers or ())
    assert data["settings"]["seed"] == 1
    assert data["settings"]["rehearsal_key_bits"] == 640
    assert data["settings"]["thresholds"] == {"low": 0.1, "high": 0.4}
    assert data["split"]["by"] == "person"
    assert len(data["views"]) == 6
    assert {each["choice"] for each in data["release"]} >= {"label only", "encrypted protocol"}


def test_a_model_of_other_classes_is_refused() -> None:
    with pytest.raises(BadInput, match="tells 8 classes apart, data set digits has 10"):
        Inversion(untrained(people(8)), split(digits(), 1, limit=60), FEW)


def test_a_network_for_other_pictures_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot take pictures of shape"):
        Inversion(untrained(people(8, side=30)), split(people(8), 1), FEW)


def test_an_unknown_layer_is_refused_before_any_training() -> None:
    with pytest.raises(BadInput, match="there is no layer stem9; the layers are"):
        Inversion(untrained(people(8)), split(people(8), 1), dataclasses.replace(FEW, layers=("stem9",)))


def test_an_attacker_is_strong_from_eight_tenths() -> None:
    assert AttackerStrength("flat", 0.8).passed
    assert not AttackerStrength("flat", 0.79).passed


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(audit, ["inversion", *arguments])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model for digits, with the real weights."""
    data = digits(8)
    network = untrained(data)
    model = compile_network(network, data.image_shape)
    folder = tmp_path_factory.mktemp("models") / "digits"
    tensors = {name: np.ascontiguousarray(t.numpy()) for name, t in network.state_dict().items()}
    save_model(folder, model, dataclasses.replace(card_for(data, model), data_set="digits"), tensors)
    return folder


def test_the_command_writes_report_and_json(stored: Path, tmp_path: Path) -> None:
    page, figures = tmp_path / "out.html", tmp_path / "out.json"
    arguments = ["--model", str(stored), "--quick", "--epochs", "1", "--pictures", "80", "--queries", "40"]
    arguments += ["--views", str(tmp_path / "views.npz"), "--layers", "stem7,, label,"]
    ended = ask(*arguments, "--report", str(page), "--json", str(figures))
    assert ended.exit_code == 0, ended.output + repr(ended.exception)
    assert "label only" in ended.output
    for path in (page, figures):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = json.loads(figures.read_text())
    assert data["split"]["by"] == "picture"
    assert data["settings"]["recorded_queries"] == 40
    assert len(data["views"]) == 6
    assert "not by person" in page.read_text()


def test_a_model_with_a_mask_is_audited_on_covered_pictures(tmp_path: Path) -> None:
    """All is covered: features and views say nothing, and the attacker is strong all the same."""
    data = digits(8)
    network, mask = untrained(data), Mask("all", np.zeros((8, 8), np.bool_))
    model = compile_network(network, data.image_shape)
    tensors = {name: np.ascontiguousarray(t.numpy()) for name, t in network.state_dict().items()}
    card = dataclasses.replace(card_for(data, model), data_set="digits", mask=mask.digest)
    save_model(tmp_path / "m", model, card, tensors, mask=mask)
    arguments = ["--model", str(tmp_path / "m"), "--quick", "--epochs", "1", "--pictures", "80"]
    arguments += ["--layers", "picture", "--queries", "40", "--views", str(tmp_path / "views")]
    page, figures = tmp_path / "out.html", tmp_path / "out.json"
    ended = ask(*arguments, "--report", str(page), "--json", str(figures))
    assert ended.exit_code == 0, ended.output + repr(ended.exception)
    found = json.loads(figures.read_text())
    assert found["settings"]["mask"] == mask.digest
    assert found["attacker_strength"][0]["ssim"] > 0.5
    assert found["layers"][0]["risk"]["score"] < 0.05
    assert not load_views(tmp_path / "views")["unmasked_picture"].any()
    assert "covered 100% of every picture" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--layers", "conv9"], "there is no layer conv9; the layers are: picture, "),
        (["--data", "mnist"], None),
        (["--data", "nothing"], "neither a folder nor a known data set"),
        (["--low", "0.5"], "thresholds must be"),
        (["--queries", "3"], "too few to attack the views"),
        (["--layers", ", ,"], "--layers names no layer"),
        (["--pictures", "20"], "has 20 pictures; an audit needs 40"),
        (["--report", "/no/such/folder/x.html"], "cannot be written"),
        (["--views", "/no/such/folder/views.npz"], "cannot be written"),
        (["--key-bits", "500"], "key_bits must be"),
        (["--epochs", "-1"], "epochs must be"),
        (["--epochs", "0"], "epochs must be"),
        (["--pictures", "-5"], "at most -5 pictures cannot be"),
    ],
)
def test_bad_input_is_one_line(stored: Path, arguments: list[str], wanted: str | None) -> None:
    ended = ask("--model", str(stored), "--quick", "--epochs", "1", *arguments)
    if wanted is None:  # ten digits are ten digits: the model can be audited on the other set's pictures
        assert ended.exit_code == 0
        return
    assert isinstance(ended.exception, BadInput), ended.output
    assert wanted in str(ended.exception)
    assert "\n" not in str(ended.exception)


def test_a_model_on_data_of_other_classes(tmp_path: Path) -> None:
    data = people(8)
    network = untrained(data)
    model = compile_network(network, data.image_shape)
    save_model(tmp_path / "m", model, card_for(data, model))
    ended = ask("--model", str(tmp_path / "m"), "--data", "digits", "--quick")
    assert "model small 1 tells 8 classes apart (p0 .. p7), data set digits has 10 (0 .. 9)" in str(
        ended.exception
    )


def test_the_pictures_shown_are_of_different_subjects() -> None:
    group = split(people(12), 1).target
    labels = group.labels[shown(group)]
    assert len(labels) == 8
    assert len(set(labels[:3].tolist())) == 3


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Inversion(
            untrained(people(8)), split(people(8), 1), dataclasses.replace(FEW, layers=("label",))
        ).run()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
