# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A Space of the Hugging Face Hub: students on recordings of visitors.

Put checkpoints of students into `students/` next to this file (such as those of `model_cards/`), and push the folder
to a Space. On your own machine: `dlink demo --web`.
"""

import os
from pathlib import Path

from dlink_hf.inference.web_app import launch_app


HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    # a Space listens on all addresses, on the port that it is given
    launch_app(
        [HERE / "students", HERE.parents[1] / "model_cards"],
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
    )
