"""Measurements of speed and memory; nothing in them is ever made up."""
