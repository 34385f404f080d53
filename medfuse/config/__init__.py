"""Configs: one YAML file is one whole run, checked key by key before anything starts.

A config names parts and never runs code. Unknown keys are refused with their dotted path, the resolved config is
stored beside each run, and its hash goes into every checkpoint and prediction.
"""
