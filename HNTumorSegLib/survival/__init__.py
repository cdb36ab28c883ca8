"""Survival: cohort tables, checks, imputation, selection, Cox, forest and DeepSurv, Kaplan-Meier, honest evaluation.

Estimators follow scikit-learn: ``fit(x, y)``, ``predict(x)`` and ``get_params``. ``x`` is (patients, covariates);
``y`` is the structured array of :func:`HNTumorSegLib.survival.outcome.outcome`; ``predict`` gives one number a
patient that grows with the hazard (for Cox and DeepSurv the log of the hazard ratio), and
``predict_survival(x, times)`` gives (patients, times). One estimator a file.
"""
