# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Name, dependencies and extras of the package; tools are set up in pyproject.toml, constraints.txt pins versions."""

import re
from pathlib import Path

from setuptools import find_packages, setup


ROOT = Path(__file__).parent
README = ROOT / "README.md"
VERSION = re.search(r'^__version__ = "([^"]+)"$', (ROOT / "dlink_hf" / "_version.py").read_text("utf-8"), re.M)[1]

# what a student needs to be loaded, to read a recording and to predict
INSTALL_REQUIRES = [
    # tested with 2.13; nothing newer than 2.6 is called
    "torch>=2.6",
    "transformers>=5.20,<6",
    "huggingface-hub>=1.33,<3",
    "safetensors>=0.8",
    # braindecode 1.8 uses the name of a montage that MNE removes in 1.14
    "mne>=1.11,<1.14",
    "numpy>=2.2,<3",
    "scipy>=1.15",
    "pyyaml>=6.0",
    "tqdm>=4.67",
]

# data sets, scores, training, model cards; dlink_hf/core/requires.py names the extra where one of these is missing
TRAIN = [
    "datasets>=4.8",
    "accelerate>=1.15",
    "evaluate>=0.4.6",
    # locks the folder of a teacher's stored features; torch and huggingface-hub bring it
    "filelock>=3.20",
    # the model card is a template
    "jinja2>=3.1",
    "pandas>=2.3",
    "psutil>=5.9",
    "scikit-learn>=1.6",
]

EXTRAS_REQUIRE = {
    "train": TRAIN,
    # teachers only: a student needs none of this. braindecode brings torchaudio, which must match torch
    "teachers": [*TRAIN, "braindecode>=1.8,<2", "peft>=0.21,<1", "pyriemann>=0.8,<1"],
    # teachers that braindecode does not have; they need no braindecode
    "chronos": [*TRAIN, "chronos-forecasting>=2.3,<3"],
    # asks for pandas below 3, which is why the tests' own environment does without it
    "mantis": [*TRAIN, "mantis-tsfm>=1.1,<2"],
    "bids": [*TRAIN, "mne-bids>=0.18"],
    # data sets by name: those that braindecode put on the Hub, and those of MOABB
    "hub-data": [*TRAIN, "zarr>=3.0,<4"],
    "moabb": [*TRAIN, "moabb>=1.4.3,<2"],
    # enters a student in Open EEG Bench; brings braindecode
    "bench": [*TRAIN, "open-eeg-bench>=0.6,<1"],
    # scores of events in time
    "events": ["timescoring>=0.0.7,<1"],
    "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.3"],
    # brings torchao; its wheels do not say which torch they were built for: run with 2.13
    "executorch": ["executorch>=1.5,<2"],
    # the first that brings liblsl on Linux too, and waits for the first sample rather than a whole chunk
    "stream": ["pylsl>=1.18.5"],
    "brainflow": ["brainflow>=5.23"],
    # what LabRecorder of Lab Streaming Layer writes
    "xdf": ["pyxdf>=1.16.6"],
    "demo": [*TRAIN, "matplotlib>=3.9", "tensorboard>=2.18"],
    # examples/hyperparameter_search.py
    "search": [*TRAIN, "optuna>=4.2,<6"],
    # the web demo
    "web": [*TRAIN, "gradio>=6,<7", "matplotlib>=3.9"],
    # the pages of docs/
    "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=1.0"],
    "dev": [
        *TRAIN,
        # brings axe-core, which looks for barriers in a page
        "axe-playwright-python>=0.1.5",
        "build>=1.2",
        "chronos-forecasting>=2.3,<3",
        "codespell>=2.4",
        "edfio>=0.4.4",
        "gradio>=6,<7",
        "matplotlib>=3.9",
        "import-linter>=2.5",
        "ipykernel>=6.29",
        "mne-bids>=0.18",
        "mypy>=1.18",
        "nbclient>=0.10",
        "onnx>=1.17",
        "onnxruntime>=1.20",
        "onnxscript>=0.3",
        "playwright>=1.50",
        "pylsl>=1.18.5",
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "pyxdf>=1.16.6",
        "ruff>=0.9",
        "tensorboard>=2.18",
        "trackio>=0.5",
        "twine>=6.1",
        "zarr>=3.0,<4",
    ],
}

setup(
    name="dlink-hf",
    version=VERSION,
    description="Distil EEG foundation models into compact students, in the Hugging Face ecosystem",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The dlink_hf authors",
    project_urls={"Paper": "https://arxiv.org/abs/2604.15016v2"},
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["EEG", "BCI", "distillation", "foundation models", "transformers", "pytorch"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["dlink_hf", "dlink_hf.*"]),
    package_data={
        "dlink_hf": [
            "py.typed",
            "hub/*.md",
            "data/public/*.json",
            "export/c/*",
            *(f"checkpoints/*/*.{kind}" for kind in ("safetensors", "json", "md")),
        ]
    },
    # what numpy, scipy, pandas, mne and transformers ask for themselves
    python_requires=">=3.11",
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["dlink = dlink_hf.commands:main"]},
)
