"""A stand-in for 3D Slicer that runs a scripted module file unmodified, for tests without Slicer.

Real: the MRML scene, nodes, logics, displayable managers and ``slicer.util`` (package slicer-core), and Qt (PySide6,
offscreen). Stood in for: PythonQt, CTK, the qMRML widgets, the application, the base classes of scripted modules.

In a test (fixtures from :mod:`slicer_host.fixtures`, known to every test)::

    def test_button(host, module_widget):               # module_widget: HNTumorSegWidget, loaded afresh, scene empty
        module_widget.ui.petSelector.setCurrentNode(pet)
        module_widget.ui.delineateButton.click()
        host.wait_until(lambda: module_widget.ui.lesionTable.rowCount > 0, timeout_s=30)
        assert host.texts("info") == [...]              # what was said to the person
        assert "no PET" in host.take_errors()[0]        # an error that the test expects; others fail it
        host.answers.append(qt.QMessageBox.Ok)          # else a question raises WouldBlock: headless never asks
        host.paint_sphere(module_widget.ui.editor, ras, 6.0)           # a stroke in the Segment Editor, with undo
        host.grab(module.panel, tmp_path / "panel.png", (460, 900))    # array, and a PNG

    def test_views(host, slice_views, module):           # slice_views: a layout manager with Red, Yellow, Green
        slicer.util.setSliceViewerLayers(background=ct, foreground=pet, foregroundOpacity=0.5, fit=True)
        view = slice_views.sliceWidget("Red").view()     # view.image(), view.save(path), view.center_ras()
        host.grab_window(module.panel, "overview.png")   # panel and views together

    other = host.load_module(path)                       # any module file: .python .instance .panel .widget .logic

For the module ``import slicer, qt, ctk, vtk`` work, also ``slicer.ScriptedLoadableModule``, ``slicer.i18n``,
``slicer.util`` (all of it), ``SampleData``; ``slicer.app``, ``slicer.modules``, ``slicer.mrmlScene``,
``slicer.dicomDatabase``. There is no main window, and no layout manager unless the test opens the views.

What fails instead of passing by: a widget class or property in a ``.ui`` file that nobody knows, an unknown signal or
slot in ``connect``, an attribute that a widget does not have, an error message of VTK or MRML, an exception in a slot
or an observer, a dialog that waits for a person.

Not there: ``slicer.parameterNodeWrapper`` and ``slicer.packaging`` (slicer-core does not bring them), command line
modules, 3D views, extensions, undo of the scene. Each file says what its stand-ins leave out.
"""
