// Whole slides: a pyramid of tiles in OpenLayers, which zooms and pans by mouse, touch and keyboard.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import Map from 'ol/Map'
import View from 'ol/View'
import TileLayer from 'ol/layer/Tile'
import Projection from 'ol/proj/Projection'
import ImageTileSource from 'ol/source/ImageTile'
import TileGrid from 'ol/tilegrid/TileGrid'
import { defaults as defaultControls } from 'ol/control/defaults'
import { defaults as defaultInteractions } from 'ol/interaction/defaults'
import { Maximize, Minus, Plus } from 'lucide-preact'
import type { DisplayProps } from '../registry'
import { IconButton } from '../../ui/Button'
import { ErrorState } from '../../ui/States'
import { explain, isAbort } from '../../api/errors'
import { personName } from '../../ui/format'
import { type Pyramid, pyramidOf } from './pyramid'
import { tilePicture } from './tiles'
import './slides.css'

export default function SlideDisplay({ set, viewer }: DisplayProps) {
  const made = useMemo((): { pyramid: Pyramid } | { error: unknown } => {
    try {
      return { pyramid: pyramidOf(set.instances) }
    } catch (error) {
      return { error }
    }
  }, [set])
  if ('error' in made) return <ErrorState title="This slide cannot be shown" error={made.error} />
  return <Slide pyramid={made.pyramid} set={set} viewer={viewer} />
}

function Slide({ pyramid, set, viewer }: { pyramid: Pyramid } & Pick<DisplayProps, 'set' | 'viewer'>) {
  const host = useRef<HTMLDivElement>(null)
  const map = useRef<Map>()
  const [resolution, setResolution] = useState(1)
  const [failure, setFailure] = useState<{ count: number; message: string }>()
  const [isDrawn, setDrawn] = useState(false)
  const base = pyramid.levels[0]!

  useEffect(() => {
    const abort = new AbortController()
    const extent = [0, -base.height, base.width, 0]
    const projection = new Projection({ code: 'lightwell-slide', units: 'pixels', extent })
    const tileGrid = new TileGrid({
      extent,
      origin: [0, 0],
      // From the smallest level to the largest, as OpenLayers counts zoom levels.
      resolutions: [...pyramid.levels].reverse().map((level) => base.width / level.width),
      tileSizes: [...pyramid.levels].reverse().map((level) => [level.tileWidth, level.tileHeight])
    })
    const source = new ImageTileSource({
      projection,
      tileGrid,
      wrapX: false,
      transition: 0,
      loader: async (z, x, y, options) => {
        const level = pyramid.levels[pyramid.levels.length - 1 - z]!
        const frame = level.frameAt(x, y)
        if (frame === undefined) return blank(level.tileWidth, level.tileHeight)
        try {
          const signal = options.signal ? AbortSignal.any([options.signal, abort.signal]) : abort.signal
          return await tilePicture(level.instance, frame, viewer.source, viewer.decoders, signal)
        } catch (error) {
          if (!abort.signal.aborted && !isAbort(error)) setFailure((old) => ({ count: (old?.count ?? 0) + 1, message: explain(error) }))
          throw error
        }
      }
    })
    const view = new View({ projection, extent, constrainOnlyCenter: true, minResolution: 0.25, maxResolution: Math.max(...extent.map(Math.abs)) / 128, showFullExtent: true })
    const made = new Map({
      target: host.current!,
      layers: [new TileLayer({ source, extent, preload: 1 })],
      view,
      controls: defaultControls({ zoom: false, attribution: false, rotate: false }),
      interactions: defaultInteractions({ altShiftDragRotate: false, pinchRotate: false })
    })
    const whole = (): void => view.fit(extent, { size: [host.current!.clientWidth, host.current!.clientHeight], padding: [12, 12, 12, 12] })
    whole()
    // Drawn: it rests, and all tiles in sight are there. Heard before what follows, which may move it once more.
    made.on('rendercomplete', () => setDrawn(!view.getAnimating()))
    view.on(['change', 'propertychange'], () => setDrawn(false))
    made.on('change:size', () => setDrawn(false))
    // The style sheet of this part may come after it.
    made.once('rendercomplete', whole)
    view.on('change:resolution', () => setResolution(view.getResolution() ?? 1))
    setResolution(view.getResolution() ?? 1)
    map.current = made
    return () => {
      abort.abort()
      made.setTarget(undefined)
      made.dispose()
    }
  }, [pyramid, viewer])

  const zoom = (by: number): void => {
    const view = map.current?.getView()
    view?.animate({ zoom: (view.getZoom() ?? 0) + by, duration: 150 })
  }
  const { attributes } = base.instance
  const microns = base.spacing === undefined ? undefined : base.spacing * 1000 * resolution
  return (
    <div class="slide" data-testid="slide" data-state={isDrawn ? 'drawn' : 'drawing'}>
      <div ref={host} class="slide-map" tabIndex={0} role="application" aria-label={`Slide of ${base.width} by ${base.height} pixels. Arrows move, plus and minus zoom.`} />
      <p class="slide-text">
        <strong>{personName(attributes.text('PatientName'))}</strong>
        <span>{[attributes.text('PatientID'), attributes.text('ContainerIdentifier'), set.series.attributes.text('SeriesDescription')].filter(Boolean).join(' · ')}</span>
        {attributes.text('LossyImageCompression') === '01' && <span class="flag">Lossy compressed</span>}
        {pyramid.leftOut && <span class="flag">{pyramid.leftOut}</span>}
        {failure && <span class="flag" role="alert">{failure.count === 1 ? 'A tile' : `${failure.count} tiles`} could not be shown: {failure.message}</span>}
      </p>
      <p class="slide-scale number">{microns === undefined ? `${(1 / resolution).toFixed(2)} ×` : `${microns.toPrecision(3)} µm a pixel`}</p>
      <div class="slide-tools">
        <IconButton label="Zoom in" onClick={() => zoom(1)}><Plus /></IconButton>
        <IconButton label="Zoom out" onClick={() => zoom(-1)}><Minus /></IconButton>
        <IconButton label="Whole slide" onClick={() => map.current?.getView().fit([0, -base.height, base.width, 0], { duration: 150, padding: [12, 12, 12, 12] })}><Maximize /></IconButton>
      </div>
    </div>
  )
}

function blank(width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement('canvas')
  canvas.width = width
  canvas.height = height
  return canvas
}
