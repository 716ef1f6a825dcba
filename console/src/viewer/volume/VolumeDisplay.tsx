// Three planes through a volume, by Cornerstone3D: scrolled, windowed, and tied together by crosshairs.

import { useEffect, useRef, useState } from 'preact/hooks'
import { Enums, RenderingEngine, type Types, cache, init, metaData, setVolumesForViewports, volumeLoader } from '@cornerstonejs/core'
import {
  CrosshairsTool,
  Enums as ToolEnums,
  PanTool,
  StackScrollTool,
  ToolGroupManager,
  WindowLevelTool,
  ZoomTool,
  addTool,
  init as initTools
} from '@cornerstonejs/tools'
import { Crosshair, SunMedium } from 'lucide-preact'
import { letters, type Vector } from '../model/geometry'
import { type Window, windowNumbers } from '../model/windows'
import { dicomDate, dicomTime, personName } from '../../ui/format'
import type { DisplayProps } from '../registry'
import { IconButton } from '../../ui/Button'
import { EmptyState, ErrorState, Progress } from '../../ui/States'
import { exposePlane } from './planeInspection'
import { flagsOf, isQuadruped } from './planeTexts'
import { type Grid, type Volume, loadVolume, planeOfSlice } from './volume'
import './volume.css'

const PLANES = [
  { name: 'Axial', orientation: Enums.OrientationAxis.AXIAL },
  { name: 'Sagittal', orientation: Enums.OrientationAxis.SAGITTAL },
  { name: 'Coronal', orientation: Enums.OrientationAxis.CORONAL }
] as const

/** As for a stack of images. */
const STEPS: Readonly<Record<string, number>> = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 }

// Planes that are turned would need other names and letters, and thick ones another note: minimal crosshairs are moved
// only. Lines that may not be turned could not be moved either.
const CROSSHAIRS = {
  getReferenceLineColor: () => '#5cc8ff',
  minimal: { enabled: true, lineLengthInPx: 10_000 },
  mobile: { enabled: false }
}

let next = 1
let isReady = false
const grids = new Map<string, Grid>()

/** Cornerstone (5.14) gives every slice of a local volume the place of the first one; this is where each really lies. */
function sliceMetadata(type: string, imageId: unknown): unknown {
  if (type !== Enums.MetadataModules.IMAGE_PLANE || typeof imageId !== 'string') return undefined
  const [, id = '', slice] = imageId.match(/^(.+)_slice_(\d+)$/) ?? []
  const grid = grids.get(id)
  return grid && planeOfSlice(grid, Number(slice))
}

function ready(): void {
  if (isReady) return
  // Planes through volumes all draw in the first context.
  init({ rendering: { webGlContextCount: 1 }, debug: {} })
  initTools()
  metaData.addProvider(sliceMetadata, 10_000)
  for (const tool of [CrosshairsTool, WindowLevelTool, PanTool, ZoomTool, StackScrollTool]) addTool(tool)
  isReady = true
}

let known: boolean | undefined

/** Asked once: each context that is made takes one from those that the planes need. */
function hasWebGl(): boolean {
  if (known === undefined) {
    const context = document.createElement('canvas').getContext('webgl2')
    known = context !== null
    context?.getExtension('WEBGL_lose_context')?.loseContext()
  }
  return known
}

export default function VolumeDisplay({ set, viewer }: DisplayProps) {
  const [done, setDone] = useState(0)
  const [volume, setVolume] = useState<Volume>()
  const [error, setError] = useState<unknown>()
  const [round, setRound] = useState(0)
  useEffect(() => {
    const abort = new AbortController()
    setVolume(undefined)
    setError(undefined)
    setDone(0)
    loadVolume(set, viewer.source, viewer.decoders, setDone, abort.signal).then(
      (loaded) => !abort.signal.aborted && setVolume(loaded),
      (failure: unknown) => {
        if (!abort.signal.aborted) setError(failure)
        abort.abort()
      }
    )
    return () => abort.abort()
  }, [set, viewer, round])
  if (!hasWebGl()) return <EmptyState title="Planes need WebGL 2">This browser or its graphics card has none. The slices themselves can be read without it.</EmptyState>
  if (error !== undefined) return <ErrorState title="This series cannot be cut along other planes" error={error} retry={() => setRound(round + 1)} />
  if (volume === undefined) {
    return (
      <div class="volume-wait" role="status">
        <p>Loading {set.frames.length} slices</p>
        <Progress value={done} max={set.frames.length} label="Slices loaded" />
      </div>
    )
  }
  return <Planes key={round} volume={volume} set={set} viewer={viewer} />
}

function Planes({ volume, set, viewer }: { volume: Volume } & Pick<DisplayProps, 'set' | 'viewer'>) {
  const hosts = useRef<(HTMLDivElement | null)[]>([])
  const [tool, setTool] = useState<'window' | 'crosshairs'>('crosshairs')
  const [marks, setMarks] = useState<readonly Record<'left' | 'right' | 'top' | 'bottom', string>[]>([])
  const [window, setWindow] = useState(volume.window)
  const [failure, setFailure] = useState<unknown>()
  const views = useRef<readonly Types.IVolumeViewport[]>([])
  const group = useRef<ReturnType<typeof ToolGroupManager.createToolGroup>>()

  useEffect(() => {
    const id = `volume-${next++}`
    let engine: RenderingEngine | undefined
    let observer: ResizeObserver | undefined
    let isClosed = false
    const start = async (): Promise<void> => {
      ready()
      engine = new RenderingEngine(id)
      const names = PLANES.map(({ name }) => `${id}-${name}`)
      engine.setViewports(
        PLANES.map(({ orientation }, i) => ({
          viewportId: names[i]!,
          type: Enums.ViewportType.ORTHOGRAPHIC,
          element: hosts.current[i]!,
          defaultOptions: { orientation, background: [0, 0, 0] as Types.Point3 }
        }))
      )
      const { grid } = volume
      grids.set(id, grid)
      const local = volumeLoader.createLocalVolume(id, {
        scalarData: volume.values,
        dimensions: [grid.columns, grid.rows, grid.slices],
        spacing: [...grid.spacing],
        origin: [...grid.origin],
        direction: [...grid.right, ...grid.down, ...grid.through] as unknown as Types.Mat3,
        metadata: {
          BitsAllocated: volume.values instanceof Int16Array ? 16 : 32,
          BitsStored: volume.values instanceof Int16Array ? 16 : 32,
          HighBit: volume.values instanceof Int16Array ? 15 : 31,
          PixelRepresentation: 1,
          SamplesPerPixel: 1,
          PhotometricInterpretation: 'MONOCHROME2',
          Modality: set.series.attributes.text('Modality'),
          ImageOrientationPatient: [...grid.right, ...grid.down],
          PixelSpacing: [grid.spacing[1], grid.spacing[0]],
          FrameOfReferenceUID: grid.frameOfReference,
          Columns: grid.columns,
          Rows: grid.rows,
          voiLut: [{ windowCenter: volume.window.center, windowWidth: volume.window.width }],
          VOILUTFunction: Enums.VOILUTFunctionType.LINEAR
        } as unknown as Types.Metadata
      })
      // Only slices that are marked so are sent to the graphics card, and nothing marks those of a local volume before its
      // first picture has been drawn: of zeros.
      local.modified()
      await setVolumesForViewports(engine, [{ volumeId: id }], names)
      if (isClosed) return
      const made = ToolGroupManager.createToolGroup(id)!
      group.current = made
      for (const each of [WindowLevelTool, PanTool, ZoomTool, StackScrollTool]) made.addTool(each.toolName)
      for (const name of names) made.addViewport(name, id)
      // Planes that are turned would need other names and letters, and thick ones another note. `minimal` takes away
      // the handles for both and leaves the lines draggable; `getReferenceLineDraggableRotatable` would fix them.
      made.addTool(CrosshairsTool.toolName, CROSSHAIRS)
      const { MouseBindings } = ToolEnums
      made.setToolActive(StackScrollTool.toolName, { bindings: [{ mouseButton: MouseBindings.Wheel }] })
      made.setToolActive(PanTool.toolName, { bindings: [{ mouseButton: MouseBindings.Auxiliary }, { numTouchPoints: 2 }] })
      made.setToolActive(ZoomTool.toolName, { bindings: [{ mouseButton: MouseBindings.Secondary }] })
      made.setToolActive(CrosshairsTool.toolName, { bindings: [{ mouseButton: MouseBindings.Primary }] })
      views.current = names.map((name) => engine!.getViewport(name) as Types.IVolumeViewport)
      const [lower, upper] = rangeOf(volume.window)
      for (const [i, viewport] of views.current.entries()) {
        viewport.setProperties({
          voiRange: { lower, upper },
          // Cornerstone's sigmoid (5.14) is up to 30 of 255 greys off the formula: a ramp, of which the reader is told, is none.
          VOILUTFunction: Enums.VOILUTFunctionType.LINEAR,
          invert: volume.isInverse
        })
        const element = hosts.current[i]!
        exposePlane(element, viewport)
        element.addEventListener(Enums.Events.VOI_MODIFIED, ((event: CustomEvent<{ range: { lower: number; upper: number } }>) => {
          const { lower, upper } = event.detail.range
          setWindow((old) => windowOf(lower, upper, old))
          // Each plane has a window of its own, and a drag changes (5.14) that of one: the text speaks of all three.
          // Without events, or they would answer one another.
          for (const other of views.current) {
            if (other === viewport) continue
            other.setProperties({ voiRange: { lower, upper } }, undefined, true)
            other.render()
          }
        }) as EventListener)
      }
      const begin = viewer.planesBegin
      if (begin) (made.getToolInstance(CrosshairsTool.toolName) as CrosshairsTool).setToolCenter([...begin])
      engine.render()
      if (!isQuadruped(set)) setMarks(names.map((name) => marksOf(engine!.getViewport(name)!.getCamera())))
      observer = new ResizeObserver(() => {
        // Out of sight, the planes have no size.
        if (hosts.current.every((host) => host && host.clientWidth > 0 && host.clientHeight > 0)) engine?.resize(true, true)
      })
      for (const host of hosts.current) if (host) observer.observe(host)
    }
    start().catch((error: unknown) => !isClosed && setFailure(error))
    return () => {
      isClosed = true
      views.current = []
      observer?.disconnect()
      // Crosshairs listen, and keep all that they have seen, until they are disabled; their group does not do that.
      group.current?.setToolDisabled(CrosshairsTool.toolName)
      group.current = undefined
      ToolGroupManager.destroyToolGroup(id)
      engine?.destroy()
      // A local volume keeps each of its slices as an image of its own, which does not go with it.
      grids.delete(id)
      if (cache.getVolume(id)) cache.removeVolumeLoadObject(id)
      for (let slice = 0; slice < volume.grid.slices; slice++) {
        const image = `${id}_slice_${slice}`
        if (cache.getImageLoadObject(image)) cache.removeImageLoadObject(image, { force: true })
      }
    }
  }, [volume, set])

  const choose = (chosen: 'window' | 'crosshairs'): void => {
    const { Primary } = ToolEnums.MouseBindings
    const [on, off] = chosen === 'window' ? [WindowLevelTool, CrosshairsTool] : [CrosshairsTool, WindowLevelTool]
    group.current?.setToolPassive(off.toolName)
    group.current?.setToolActive(on.toolName, { bindings: [{ mouseButton: Primary }] })
    setTool(chosen)
  }
  const { attributes } = set.instances[0]!
  // Axes of four-legged patients are others (PS3.3 C.7.6.2.1.1), and so are the names of their planes.
  const isNamed = !isQuadruped(set)
  if (failure !== undefined) return <ErrorState title="The planes cannot be drawn" error={failure} />
  return (
    <div class="volume" data-testid="volume">
      {PLANES.map(({ name }, i) => (
        <div
          class="volume-plane"
          key={name}
          role="application"
          aria-roledescription="plane through a volume"
          aria-label={isNamed ? name : `Plane ${i + 1}`}
          tabIndex={0}
          onKeyDown={(event) => {
            const by = STEPS[event.key]
            if (by === undefined || event.shiftKey) return
            event.preventDefault()
            views.current[i]?.scroll(by)
          }}
        >
          <div class="volume-canvas" ref={(element) => { hosts.current[i] = element }} onContextMenu={(event) => event.preventDefault()} />
          <span class="volume-name">{isNamed ? name : `Plane ${i + 1}`}</span>
          {marks[i] && Object.entries(marks[i]).map(([side, text]) => <span key={side} class={`volume-mark ${side}`}>{text}</span>)}
        </div>
      ))}
      <div class="volume-tools" role="toolbar" aria-label="Planes">
        <IconButton label="Crosshairs" aria-pressed={tool === 'crosshairs'} onClick={() => choose('crosshairs')}><Crosshair /></IconButton>
        <IconButton label="Window/level of the planes" aria-pressed={tool === 'window'} onClick={() => choose('window')}><SunMedium /></IconButton>
        <span class="number">{windowNumbers(window)}</span>
      </div>
      {viewer.hasText.value && (
        <p class="volume-text">
          <strong>{personName(attributes.text('PatientName'))}</strong>
          <span>{[attributes.text('PatientID'), set.series.attributes.text('SeriesDescription')].filter(Boolean).join(' · ')}</span>
          <span>{[dicomDate(attributes.text('StudyDate')), dicomTime(attributes.text('StudyTime'))].filter(Boolean).join(' ')}</span>
          {flagsOf(set, viewer.nonPrimary.value).map((flag) => <span key={flag} class="flag">{flag}</span>)}
        </p>
      )}
      <p class="volume-note">Between slices, values are interpolated.{volume.window.function === 'SIGMOID' && ' The window of the file is a sigmoid; here it is a straight ramp.'}{!isNamed && ' Directions of four-legged patients are not named.'}</p>
    </div>
  )
}

/** The values that are drawn black and white (PS3.3 C.11.2.1.2). */
function rangeOf(window: Window): [number, number] {
  const { center, width } = window
  return window.function === 'LINEAR' ? [center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2] : [center - width / 2, center + width / 2]
}

function windowOf(lower: number, upper: number, old: Window): Window {
  return old.function === 'LINEAR'
    ? { ...old, center: (lower + upper) / 2 + 0.5, width: upper - lower + 1 }
    : { ...old, center: (lower + upper) / 2, width: upper - lower }
}

function marksOf(camera: Types.ICamera): Record<'left' | 'right' | 'top' | 'bottom', string> {
  const up = (camera.viewUp ?? [0, 0, 1]) as unknown as Vector
  const toViewer = (camera.viewPlaneNormal ?? [0, 0, 1]) as unknown as Vector
  const right: Vector = [
    up[1] * toViewer[2] - up[2] * toViewer[1],
    up[2] * toViewer[0] - up[0] * toViewer[2],
    up[0] * toViewer[1] - up[1] * toViewer[0]
  ]
  const against = (vector: Vector): Vector => [-vector[0], -vector[1], -vector[2]]
  return { left: letters(against(right)), right: letters(right), top: letters(up), bottom: letters(against(up)) }
}
