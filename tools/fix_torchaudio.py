# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Make a torchaudio built for CUDA importable beside a CPU build of torch, in this environment only.

braindecode depends on torchaudio. Where torch comes as a CPU build and torchaudio from the package index, torchaudio's
compiled extension asks for CUDA's libraries, and `import torchaudio` raises; so does then whatever imports it where it
is installed, transformers among others. torchaudio runs without its extension (its loader finds no library and falls
back to pure torch), so its libraries are moved from `lib` to `lib_disabled`. Nothing is done where torch has CUDA,
where torchaudio is not installed, or where it imports. To undo: install torch and torchaudio from the same index.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path


def imports() -> tuple[bool, str]:
    """Whether `import torchaudio` works in a fresh process, and what it says if not."""
    done = subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, text=True)
    return done.returncode == 0, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


def main() -> int:
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        return 0
    works, reason = imports()
    if works:
        return 0
    import torch

    if torch.version.cuda is not None:
        print(
            f"torchaudio does not import beside a CUDA build of torch: {reason}\n"
            "Install torch and torchaudio from the same index; nothing was changed.",
            file=sys.stderr,
        )
        return 1
    libraries = Path(spec.origin).parent / "lib"
    disabled = libraries.with_name("lib_disabled")
    disabled.mkdir(exist_ok=True)
    for library in sorted(libraries.glob("*.so")):
        library.replace(disabled / library.name)
    works, reason = imports()
    if not works:
        print(f"torchaudio still does not import: {reason}", file=sys.stderr)
        return 1
    print(f"torch has no CUDA: torchaudio's CUDA libraries were moved to {disabled}; torchaudio now imports.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
