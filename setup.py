"""The optional extension, built where there is a C compiler; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("twinveil/crypto/native")

setup(
    ext_modules=[
        Extension(
            "twinveil.crypto.native._lanes",
            sorted(path.as_posix() for path in FOLDER.glob("*.c")),
            depends=sorted(path.as_posix() for suffix in ("*.h", "*.inc") for path in FOLDER.glob(suffix)),
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O2"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
