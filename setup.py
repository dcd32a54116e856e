"""The optional extensions, built where there is a C compiler; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup


def extension(folder: str, name: str) -> Extension:
    """All C of a folder, as one module beside it: stable ABI, one build for every processor."""
    path = Path(folder)
    return Extension(
        f"{'.'.join(path.parts)}.{name}",
        sorted(each.as_posix() for each in path.glob("*.c")),
        depends=sorted(each.as_posix() for suffix in ("*.h", "*.inc") for each in path.glob(suffix)),
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        extra_compile_args=["-O2"],
        py_limited_api=True,
        optional=True,
    )


setup(
    ext_modules=[
        extension("twinveil/crypto/native", "_lanes"),
        extension("twinveil/garbling/native", "_gates"),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
