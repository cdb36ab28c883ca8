"""Synthetic head-and-neck PET/CT patients with known lesions: for training, tests and the demo."""

from HNTumorSegLib.phantom.patient import CROPPED, HEAD_NECK, WHOLE_BODY, PhantomPatient, make_patient

__all__ = ["CROPPED", "HEAD_NECK", "WHOLE_BODY", "PhantomPatient", "make_patient"]
