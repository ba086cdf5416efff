"""One animation, frame by frame: a frame is decoded, upscaled and encoded before the next one."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from adadsr import images
from adadsr.batch.interrupts import Interrupts
from adadsr.batch.jobs import Job
from adadsr.batch.pipes import readable, write_stdout
from adadsr.batch.results import Options
from adadsr.batch.steps import Done, keep_time, plan_of, with_note, write_depth_view
from adadsr.errors import ImageFileError
from adadsr.upscaler import Chain, Report, Upscaled


def facts_of(job: Job, options: Options) -> images.Facts | None:
    """Facts of an input that is upscaled frame by frame; None for a still picture, a page, or an output for stills."""
    if options.page is not None or not images.can_animate(job.target):
        return None
    with images.open_frames(readable(job), max_pixels=options.max_pixels) as frames:
        return None if frames is None else frames.facts


def first_frame(job: Job, options: Options) -> images.Picture:
    """The first frame of an animation."""
    with images.open_frames(readable(job), max_pixels=options.max_pixels) as frames:
        return _prepared(next(iter(frames or ())), options)


def _prepared(frame: images.Picture, options: Options) -> images.Picture:
    return frame if options.background is None else images.flatten(frame, options.background)


def upscale_frames(
    chain: Chain, job: Job, options: Options, progress: Callable[[float], None], interrupts: Interrupts
) -> Done:
    """Upscale an animation and write it. A frame that equals the one before is not run again.

    The depth map is that of the first frame. progress: called with the fraction that is done.
    """
    done: list[Upscaled] = []
    with images.open_frames(readable(job), max_pixels=options.max_pixels) as frames:
        if frames is None:
            raise ImageFileError(f"{job.source}: was an animation, but changed; run again")
        count = len(frames.facts.delays)

        def results() -> Iterator[images.Picture]:
            before: images.Picture | None = None
            for index, frame in enumerate(frames):
                interrupts.check()
                if before is None or not np.array_equal(before.pixels, frame.pixels):

                    def within(share: float, index: int = index) -> None:
                        progress((index + share) / count)

                    with interrupts.at_once():
                        result = _run(chain, frame, options, within)
                    done[-1:] = [*(replace(each, image=None, picture=None) for each in done[-1:]), result]
                before = frame
                assert done[-1].picture is not None
                yield done[-1].picture
            write_depth_view(job, done[0].depth_map, chain.config.n_resblocks, options)  # the image comes last

        if job.writes_file:
            images.write_frames(
                job.target, results(), frames.facts, quality=options.quality, overwrite=options.overwrite
            )
        else:
            content = images.encode_frames(results(), frames.facts, job.target.suffix, quality=options.quality)
            write_stdout(content) if job.store is None else job.store.put(content)
    if options.keep_time:
        keep_time(job)
    last = done[-1].picture
    assert last is not None
    warnings = (*last.notes, *images.losses(job.target, last))
    return Done(Report.of_frames([each.report for each in done]), warnings)


def _run(chain: Chain, frame: images.Picture, options: Options, progress: Callable[[float], None]) -> Upscaled:
    start = time.perf_counter()
    prepared = chain.prepare(_prepared(frame, options))
    result = with_note(prepared.run(plan_of(prepared, options), progress=progress), options)
    return replace(result, report=replace(result.report, seconds=time.perf_counter() - start))
