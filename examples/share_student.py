# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Publish a student on the Hub with its card, and load it back. Log in first: `hf auth login`.

python examples/share_student.py outputs/mine/student me/my-student
"""

import argparse

import torch

import dlink_hf as dl


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", help="of a student that `dlink distill` or `save_pretrained` made")
parser.add_argument("repo_id", help="user/name")
parser.add_argument("--private", action="store_true")
args = parser.parse_args()

# one commit: weights, config, preprocessing, card, plots, and the code for those who don't have dlink_hf
commit = dl.publish_folder(args.folder, args.repo_id, private=args.private, remote_code=True)
print("published:", commit.commit_url)

# the very state that was published, whatever is pushed later
student = dl.MiCForEEGClassification.from_pretrained(args.repo_id, revision=commit.oid).eval()
own = dl.MiCForEEGClassification.from_pretrained(args.folder).eval()
window = 20 * torch.randn(1, len(own.config.ch_names), own.config.n_times)
with torch.inference_mode():
    difference = (student(window).logits - own(window).logits).abs().max().item()
print(f"largest difference of logits: {difference:g}")

print(
    f"""
others now write:
    classify = dlink_hf.pipeline("eeg-classification", model={args.repo_id!r})
and without dlink_hf, on windows in microvolts (batch, channels, samples):
    model = transformers.AutoModel.from_pretrained({args.repo_id!r}, trust_remote_code=True)"""
)
