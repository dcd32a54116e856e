"""What the demo shows and writes: each picture, the cost of each function, the summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Column, Table
from rich.text import Text  # noqa: TID251 - of pixels only

from twinveil.cli.terminal import styled
from twinveil.crypto.native.level import describe
from twinveil.estimate.query import AHEAD
from twinveil.network.card import ModelCard
from twinveil.pictures.files import Picture, to_terminal
from twinveil.views.collection import Asked, asked

CloudFigures = Mapping[str, Mapping[str, Any]]
"""cloud -> function -> figures"""

COUNTED = ("seconds", "bytes", "messages")

FORMULAS = {
    "SCVL": "E(y) = prod SMP(E(d), E(K)) * E(b)",
    "SACT": "E(max(x, 0)) = SMP(E(x), E(t)), t = (x > 0)",
    "SMAP": "E(max R) = prod SMP(E(R), E(MR)), MR one-hot",
    "SCT": "E(c) = prod SMP(E(v), E(w)) * E(b)",
    "SMP": "E(ab) = E((a + ra)(b + rb)) * E(a)^-rb * E(b)^-ra * E(-ra rb)",
}
"""As published (twinveil/protocol/textbook/s1.py has them line by line); a product of ciphertexts adds."""

WAYS = (
    "By default every Paillier operation (SMP's products for SCVL and SCT) is done before the picture, on "
    "random operands; the picture enters as two XOR shares; SACT and SMAP are garbled circuits. `--engine "
    "textbook` runs the publication's own way: d*M, a ciphertext a value, SMP a product."
)


@dataclass(frozen=True)
class Answer:
    """One picture's answer. agrees: the class vector is the oracle's, bit for bit."""

    pixels: Picture
    truth: str
    label: str
    agrees: bool
    scores: tuple[float, ...]
    seconds: float
    clouds: CloudFigures

    def asked(self, begin: float, end: float) -> Asked:
        """The user's side of a recorded query."""
        return asked(begin, end, self.truth, self.label, self.pixels)

    def between_clouds(self, what: str) -> int:
        """Bytes or messages between the clouds, over all functions."""
        return sum(int(each.get(what, 0)) for each in self.clouds["cloud_s1"].values())


def picture(answer: Answer, title: str, card: ModelCard, colour: bool) -> Table:
    """The picture beside its answer."""
    best = sorted(range(len(answer.scores)), key=lambda index: -answer.scores[index])[:3]
    scores = ", ".join(f"{card.class_names[index]}: {answer.scores[index]:.1f}" for index in best)
    right = styled("right", "green") if answer.label == answer.truth else styled("wrong", "yellow")
    agreement = ("equals", "green") if answer.agrees else ("DIFFERS from", "red")
    same = styled(f"{agreement[0]} the oracle's", agreement[1])
    facts = Table.grid(Column(), Column(overflow="fold"), padding=(0, 2))
    for row in (
        ("class", styled(answer.label, "bold")),
        ("truth", styled(answer.truth, "") + " (" + right + ")"),
        ("class vector", same + styled(f" ({scores})", "")),
        ("seconds", f"{answer.seconds:.2f}"),
        ("between the clouds", f"{mega(answer.between_clouds('bytes'))}, {_messages(answer)}"),
    ):
        facts.add_row(*row)
    shown = Table.grid(padding=(0, 3))
    shown.add_row(Text.from_ansi(to_terminal(answer.pixels, colour)), facts)
    framed = Table(title=title, title_justify="left", show_header=False, box=None)
    framed.add_row(shown)
    return framed


def figures(
    answers: Sequence[Answer],
    card: ModelCard,
    engine: str,
    key_bits: int,
    processes: Mapping[str, int],
    products: Mapping[str, int],
) -> dict[str, Any]:
    """The demo's JSON. functions: means a picture; seconds as S1 sees them, operations of both clouds.

    products: SMPs of a picture by function, of an engine that has them.
    """
    functions = _functions(answers)
    for name, count in products.items():
        functions[name]["products"] = count
    return {
        "engine": engine,
        "key_bits": key_bits,
        "arithmetic": describe() + ("; S1's formulas by phe, on gmpy2" if products else ""),
        "pictures": [
            {
                "truth": each.truth,
                "label": each.label,
                "agrees": each.agrees,
                "seconds": each.seconds,
                "bytes": each.between_clouds("bytes"),
                "messages": each.between_clouds("messages"),
            }
            for each in answers
        ],
        "all_agree": all(each.agrees for each in answers),
        "accuracy": {"float": card.accuracy_float, "fixed": card.accuracy_fixed},
        "processes": dict(processes),
        "functions": functions,
    }


def functions_table(made: Mapping[str, Any]) -> Table:
    """What each function of the protocol costs a picture."""
    table = Table("function", title="Each function, mean of a picture", title_justify="left")
    for column in ("seconds", "bytes", "messages", "big-integer products", "powers, inverses"):
        table.add_column(column, justify="right")
    before = _before_the_picture(made)
    for name, each in made["functions"].items():
        table.add_row(
            f"{name}, before the picture" if name in before else name,
            f"{each['seconds']:.3f}",
            mega(each["bytes"]),
            f"{each['messages']:.0f}",
            *_counted(each["operations"]),
        )
    return table


def formulas_table(made: Mapping[str, Any]) -> Table:
    """What was published beside what it costs a picture; of SMP, one product of SCVL with its addition."""
    table = Table("function", "as published", title="Each formula, mean of a picture", title_justify="left")
    for column in ("SMPs", "seconds", "big-integer products", "powers, inverses"):
        table.add_column(column, justify="right")
    functions = {**made["functions"], "SMP": _one_product(made["functions"]["SCVL"])}
    for name, formula in FORMULAS.items():
        each = functions[name]
        cells = (f"{each['products']:,}", f"{each['seconds']:.3f}", *_counted(each["operations"]))
        table.add_row(name, formula, *cells)
    return table


def summary(made: Mapping[str, Any]) -> Table:
    """The end: did everything agree, how good, how long, which processes."""
    pictures = made["pictures"]
    agree = sum(each["agrees"] for each in pictures)
    right = sum(each["label"] == each["truth"] for each in pictures)
    seconds = sorted(each["seconds"] for each in pictures)
    colour = "green" if made["all_agree"] else "red"
    accuracy = made["accuracy"]
    rows = (
        ("engine, key", f"{made['engine']}, {made['key_bits']} bits"),
        ("arithmetic", made["arithmetic"]),
        ("equal to the oracle, bit for bit", styled(f"{agree} of {len(pictures)}", colour)),
        ("classified rightly", f"{right} of {len(pictures)}"),
        (
            "accuracy on all held-out pictures",
            f"{accuracy['float']:.1%} in real numbers, {accuracy['fixed']:.1%} in integers",
        ),
        ("seconds a picture", f"{_mean(seconds):.2f} mean, {seconds[0]:.2f} to {seconds[-1]:.2f}"),
        *_parts(made),
        ("processes", ", ".join(f"{role} {pid}" for role, pid in made["processes"].items())),
    )
    table = Table(title="Demo", title_justify="left", show_header=False, caption=WAYS, caption_justify="left")
    for row in rows:
        table.add_row(*row)
    return table


def _before_the_picture(made: Mapping[str, Any]) -> Sequence[str]:
    """The functions of an item; the textbook's are a query's own, whatever they are called."""
    return AHEAD if made["engine"] == "packed" else ()


def _parts(made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the clouds did at a picture and, of an engine that works ahead, before it; means."""
    functions, before = made["functions"], _before_the_picture(made)
    parts = {
        "before a picture, at its item": before,
        "at a picture": [name for name in functions if name not in before],
    }
    for title, names in parts.items():
        if names:
            chosen = [functions[name] for name in names if name in functions]
            seconds, size, messages = (sum(each[what] for each in chosen) for what in COUNTED)
            yield title, f"{seconds:.3f} s; {mega(size)} and {messages:.0f} messages between the clouds"


def mega(count: float) -> str:
    """Bytes for a person."""
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count:.0f} B"


def _messages(answer: Answer) -> str:
    return f"{answer.between_clouds('messages')} messages"


def _functions(answers: Sequence[Answer]) -> dict[str, Any]:
    names = dict.fromkeys(name for each in answers for name in each.clouds["cloud_s1"])
    made: dict[str, Any] = {}
    for name in names:
        mine = [each.clouds["cloud_s1"].get(name, {}) for each in answers]
        theirs = [each.clouds["cloud_s2"].get(name, {}) for each in answers]
        made[name] = {what: _mean([each.get(what, 0) for each in mine]) for what in COUNTED}
        made[name]["operations"] = _operations([*mine, *theirs], len(answers))
    return made


def _operations(parts: Sequence[Mapping[str, Any]], pictures: int) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in parts:
        for kind, count in each.get("operations", {}).items():
            total[kind] = total.get(kind, 0) + count / pictures
    return total


def _one_product(function: Mapping[str, Any]) -> dict[str, Any]:
    count = function["products"]
    operations = {kind: n / count for kind, n in function["operations"].items()}
    return {"products": 1, "seconds": function["seconds"] / count, "operations": operations}


def _counted(operations: Mapping[str, float]) -> tuple[str, str]:
    """Multiplications; powers and inverses."""
    products = sum(n for kind, n in operations.items() if _is_product(kind))
    return f"{products:,.0f}", f"{sum(operations.values()) - products:,.0f}"


def _is_product(kind: str) -> bool:
    return kind.startswith(("modmul", "square"))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
