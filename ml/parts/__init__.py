"""The parts of a run: conversion, uplift, policy."""
