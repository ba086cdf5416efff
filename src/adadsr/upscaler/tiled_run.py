"""An LR image on an engine, tile by tile: head and adapter once, then a plan, then body and tail."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr import forks
from adadsr.backends import DepthMap, Engine, Features, Means, Progress, no_progress, to_numpy
from adadsr.geometry import Box
from adadsr.graph import Array, Cost
from adadsr.graph.calibration import DepthFamily, ErrorCurve, ErrorDepths, Scores, family_of, keep_colors
from adadsr.tiling import Tile
from adadsr.upscaler.memory import Layout, SharedMemory
from adadsr.upscaler.pacing import Pacer, Schedule, Time
from adadsr.upscaler.plan import Plan, checked_map, desired_depth, map_for, tail_bands, tile_cost, window_depths
from adadsr.upscaler.report import Target

Write: TypeAlias = Callable[[Box, Array], None]
"""Takes a finished part of the SR image: its box, and (h, w, 3) in 0..255."""
BODY_SHARE = 0.9
"""Approximate share of the body in the time of a tile."""
KEPT_FAMILIES = 4
"""Families that are kept if the adapter uses the desired depth: as many depths can be requested again at no cost."""


class Executed(NamedTuple):
    """What a run did. in_precision: whether all tiles ran in the engine's precision. body_macs: of all tiles.

    depth_map: of the picture, (G, h, w), if a time made it other than planned.
    """

    in_precision: bool
    body_macs: int
    depth_map: DepthMap | None = None


class _Average(NamedTuple):
    """Of the first pass. means: for channel attention, None if there is no such pass. The rest: see `Executed`."""

    means: Means | None
    in_precision: bool
    body_macs: int


class TiledRun:
    """An LR image on an engine. Threads may share it."""

    def __init__(
        self, engine: Engine, fallback: Callable[[], Engine], lr: Array, layout: Layout, memory: SharedMemory
    ) -> None:
        """fallback: the engine in float32, for tiles that overflow in half precision. lr: (H, W, 3) in 0..255."""
        self.engine, self.network, self.fallback, self.layout = engine, engine.network, fallback, layout
        self.lr = layout.frame.extended(lr)
        sides = [int(side) * self.network.scale // self.network.square for side in lr.shape[:2]]
        self._sr_box = Box(0, 0, *sides)
        self._memory = memory
        self._families: dict[float | None, DepthFamily] = {}
        self._z0: Features | None = None
        self._lock = forks.Lock()

    def drop(self) -> None:
        """Free the head's features; a later run computes them again."""
        self._z0 = None

    def plan(self, target: Target, depth_map: Array | None = None) -> Plan:
        """What a run at a target will do, or a run by `depth_map`, (G, h, w) in blocks, if it is given.

        Runs head and adapter if necessary. The network can meet the target (`Target.check`), unless that is a budget
        below its least: BudgetError.
        """
        layout, frame = self.layout, self.layout.frame
        if depth_map is not None:
            return Plan(self.network, layout, target, checked_map(self.network, frame, depth_map), scored=False)
        if target.is_full(self.network.n_blocks):
            return Plan(self.network, layout, target, None, scored=False, predicted_loss=0.0)
        family = self.family(desired_depth(self.network, frame, target))
        depths = map_for(self.network, frame, family, target)
        return Plan(self.network, layout, target, depths, scored=True, predicted_loss=family.predicted_loss(depths))

    def changed(self, plan: Plan, depth_map: DepthMap) -> Plan:
        """A plan whose run had to keep to a time, as it ran. depth_map: of the picture."""
        loss = self.family(0.0).predicted_loss(depth_map)
        layout = replace(self.layout, exact=self.layout.is_whole)
        return replace(plan, depth_map=depth_map, predicted_loss=loss, layout=layout)

    def family(self, depth: float) -> DepthFamily:
        """The adapter's maps of the picture. depth: desired depth, in blocks; most adapters ignore it."""
        key = depth if self.network.require_adapter().uses_depth else None
        known = self._families.get(key)
        if known is not None:
            return known
        with self._memory.lease(self.layout.bytes, self), self._lock:
            if key not in self._families:
                family = family_of(self.network, self._score(depth))
                self._families = dict([*self._families.items(), (key, family)][-KEPT_FAMILIES:])
            family = self._families[key]
        if self._z0 is not None:
            self._memory.keep(self, 4 * self.network.channels * self.layout.frame.box.area)
        return family

    def curve(self, least_gains: npt.NDArray[np.float32]) -> ErrorCurve | None:
        """See `Prepared.curve`."""
        adapter = self.network.adapter
        if adapter is None or not adapter.predicts_errors:
            return None
        family = self.family(0.0)
        assert isinstance(family, ErrorDepths)
        return family.curve(least_gains)

    def _score(self, depth: float) -> Scores:
        """The scores of the picture, (K, ceil(H/t), ceil(W/t)): the adapter's, except for tiles of one colour."""
        frame, unit = self.layout.frame, self.network.depth_tile
        _, rows, columns = self.network.map_shape(frame.height, frame.width)
        scores = np.empty((self.network.require_adapter().n_scores, rows, columns), np.float32)
        picture = frame.picture.coarse(unit)
        for tile in self.layout.scored:
            window = self._window(tile)
            z0 = self._z0 or self.engine.features(window)
            part = self.engine.scores(z0, depth)[0]
            keep_colors(self.network, part, to_numpy(window[0]))
            core = tile.core.coarse(unit)
            core.relative_to(picture).of(scores)[...] = core.relative_to(tile.window.coarse(unit)).of(part)
            if self.layout.is_whole:
                self._z0 = z0
            del z0  # frees its memory for the next tile
        return scores

    def run(self, plan: Plan, write: Write, progress: Progress, limit: Time | None = None) -> Executed:
        """Run body and tail by a plan of this image.

        write: receives every part of the SR image once. progress: receives non-decreasing fractions. limit: of a plan
        that must keep to a time; its maps change if the machine is slower or faster than expected: before a tile by how
        long earlier ones took, and within a tile where the engine asks (`backends.Revise`).
        """
        changed, steps = _ChangedMap(plan), len(self.layout.averaged) + len(plan.tiles)
        with self._memory.lease(self.layout.bytes, self):
            means, in_precision, body_macs = self._average(plan, lambda done: progress(done / steps))
            schedule = None if limit is None else Schedule([self._cost(plan, tile) for tile in plan.tiles], limit)
            for index, tile in enumerate(plan.tiles):
                done = len(self.layout.averaged) + index

                def within(share: float, done: int = done) -> None:
                    progress((done + share) / steps)

                pacer = None if schedule is None else self._pacer(plan, tile, schedule)
                executed = self._run_tile(plan, tile, means, write, within, pacer)
                if schedule is not None:
                    schedule.finish_tile(executed.body_macs)
                in_precision &= executed.in_precision
                body_macs += executed.body_macs
                changed.take(tile, pacer)
                progress((done + 1) / steps)
        return Executed(in_precision, body_macs, changed.depth_map)

    def _average(self, plan: Plan, progress: Callable[[int], None]) -> _Average:
        """A first pass through the body, whose tiles weight their channels by their own means.

        progress: receives the number of finished tiles.
        """
        sums, in_precision, macs = np.zeros((), np.float64), True, 0
        for number, tile in enumerate(self.layout.averaged, start=1):
            found, cost = self._means_of(self.engine, plan, tile)
            macs += cost
            if self.engine.half and not np.isfinite(found).all():
                found, cost = self._means_of(self.fallback(), plan, tile)
                in_precision, macs = False, macs + cost
            sums = sums + found.astype(np.float64) * tile.core.area
            progress(number)
        means = (sums / self.layout.frame.box.area).astype(np.float32) if self.layout.averaged else None
        return _Average(means, in_precision, macs)

    def _means_of(self, engine: Engine, plan: Plan, tile: Tile) -> tuple[Means, int]:
        """Means of a tile alone, and the body's executed cost. Keeps no features."""
        z = self._body(engine, plan, tile)
        return to_numpy(z.means), z.macs

    def _cost(self, plan: Plan, tile: Tile) -> Cost:
        return tile_cost(self.network, tile, plan.depths_of(tile), head=not self.layout.is_whole)

    def _pacer(self, plan: Plan, tile: Tile, schedule: Schedule) -> Pacer | None:
        """What keeps the next tile to its time; None if nothing can change."""
        depths = plan.depths_of(tile)
        if plan.depth_map is None or depths is None or not self.network.require_adapter().predicts_errors:
            return None
        family, frame, unit = self.family(0.0), self.layout.frame, self.network.depth_tile

        def window(depth_map: DepthMap) -> DepthMap:
            found = window_depths(self.network, self.layout, frame.extended_map(depth_map, unit), tile)
            assert found is not None
            return found

        pacer = Pacer(family, window, depths, *schedule.seconds_of_body(tile.core.area))
        pacer.begin()
        return pacer

    def _run_tile(
        self, plan: Plan, tile: Tile, means: Means | None, write: Write, progress: Progress, pacer: Pacer | None
    ) -> Executed:
        if not self.engine.half:
            z = self._body(self.engine, plan, tile, means, progress, pacer)
            self._restore(self.engine, tile, z, write, progress)
            return Executed(True, z.macs)
        parts: list[tuple[Box, Array]] = []
        z = self._body(self.engine, plan, tile, means, progress, pacer)
        self._restore(self.engine, tile, z, lambda box, part: parts.append((box, part)), progress)
        if all(np.isfinite(to_numpy(part)).all() for _, part in parts):
            for box, part in parts:
                write(box, part)
            return Executed(True, z.macs)
        macs = z.macs
        del z  # frees its memory
        z = self._body(self.fallback(), plan, tile, means, no_progress, pacer)
        self._restore(self.fallback(), tile, z, write, no_progress)
        return Executed(False, macs + z.macs)

    def _body(
        self,
        engine: Engine,
        plan: Plan,
        tile: Tile,
        means: Means | None = None,
        progress: Progress = no_progress,
        pacer: Pacer | None = None,
    ) -> Features:
        """Features of a tile after the body, and after the head if its features are not kept."""
        kept = self._z0 if engine is self.engine else None
        depths = plan.depths_of(tile) if pacer is None else pacer.depth_map
        z0 = kept or engine.features(self._window(tile))
        depths = None if depths is None else np.ascontiguousarray(depths[None])
        return engine.body(z0, depths, lambda share: progress(BODY_SHARE * share), pacer, means)

    def _restore(self, engine: Engine, tile: Tile, z: Features, write: Write, progress: Progress) -> None:
        """The tail of one tile."""
        bands = tail_bands(tile)
        for number, band in enumerate(bands, start=1):
            sr = engine.tail(z, band.relative_to(tile.window))
            box = band.relative_to(self.layout.frame.picture).scaled(self.network.scale)
            inside = box.grown(0, self._sr_box)  # without what completes the last squares
            write(inside, sr[0][: inside.height, : inside.width])
            progress(BODY_SHARE + (1 - BODY_SHARE) * number / len(bands))

    def _window(self, tile: Tile) -> Array:
        """The LR image of a tile's window, (1, h, w, 3)."""
        rows, columns = tile.window.slices
        return self.lr[rows, columns][None]


class _ChangedMap:
    """The map of a picture whose tiles may have run by other maps than planned. depth_map: None if none has."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.depth_map: DepthMap | None = None

    def take(self, tile: Tile, pacer: Pacer | None) -> None:
        """Take over what ran in the core of a tile."""
        if pacer is None or not pacer.has_changed:
            return
        plan = self._plan
        assert plan.depth_map is not None
        if self.depth_map is None:
            self.depth_map = plan.depth_map.copy()
        unit = plan.network.depth_tile
        core, picture = tile.core.coarse(unit), plan.layout.frame.picture.coarse(unit)
        inner = core.relative_to(tile.window.coarse(unit)).of(pacer.depth_map)
        core.relative_to(picture).of(self.depth_map)[...] = inner
