// The bar of the viewer: where to go, the tools, windows, the view, loops, layouts.

import type { ComponentChildren } from 'preact'
import { ArrowLeft, Box, ChevronDown, CircleHelp, Contrast, Ellipsis, ExternalLink, FlipHorizontal2, FlipVertical2, Grid2x2, Hand, ListTree, Maximize, Minus, Pause, Play, Plus, RotateCcw, RotateCw, Ruler, ScrollText, Square, SquareSplitHorizontal, SunMedium, TextSelect, Triangle, ZoomIn, GalleryVertical, Images, Link2 } from 'lucide-preact'
import { IconButton } from '../../ui/Button'
import { Menu, type MenuItem } from '../../ui/Menu'
import { config } from '../../api/config'
import { openOhif } from '../../session/ohif'
import { LEAST_FPS, MOST_FPS } from '../stack/cine'
import { draft } from '../stack/measureDraft'
import { windowText } from '../stack/Overlay'
import type { StackController } from '../stack/stackController'
import { canBePlanes } from '../volume/volume'
import { LAYOUTS, type Tool, type ViewerState } from './viewerState'

interface Props {
  viewer: ViewerState
  isListOpen: boolean
  toggleList: () => void
  openHelp: () => void
  areTagsOpen: boolean
  toggleTags: () => void
}

const TOOLS: readonly { tool: Tool; label: string; key: string; icon: ComponentChildren }[] = [
  { tool: 'window', label: 'Window/level', key: 'W', icon: <SunMedium /> },
  { tool: 'scroll', label: 'Scroll', key: 'S', icon: <GalleryVertical /> },
  { tool: 'pan', label: 'Pan', key: 'P', icon: <Hand /> },
  { tool: 'zoom', label: 'Zoom', key: 'Z', icon: <ZoomIn /> },
  { tool: 'length', label: 'Length', key: 'L', icon: <Ruler /> },
  { tool: 'angle', label: 'Angle', key: 'N', icon: <Triangle /> }
]

export function Toolbar({ viewer, isListOpen, toggleList, openHelp, areTagsOpen, toggleTags }: Props) {
  const stack = viewer.activeStack.value
  const { datastoreId, imageSetId } = viewer.activeSet.value?.series.origin ?? viewer.origin
  const hasStack = stack !== undefined
  return (
    <header class="viewer-bar">
      <div class="bar-group">
        <a class="button quiet icon-only" href={`/console/stores/${datastoreId}`} aria-label="Back to the studies" title="Back to the studies"><ArrowLeft /></a>
        <IconButton class="list-button" label={isListOpen ? 'Close the series' : 'Open the series'} aria-expanded={isListOpen} onClick={toggleList}><Images /></IconButton>
      </div>
      <div class="bar-group toolbox" role="toolbar" aria-label="Tools">
        {TOOLS.map(({ tool, label, key, icon }) => (
          <IconButton key={tool} label={label} title={`${label} (${key})`} aria-pressed={viewer.tool.value === tool} disabled={!hasStack} onClick={() => choose(viewer, tool)}>{icon}</IconButton>
        ))}
        {stack && stack.length > 1 && <Cine stack={stack} />}
      </div>
      <div class="bar-group windows">{stack && <Presets stack={stack} />}</div>
      <div class="bar-group wide-only" role="toolbar" aria-label="View">
        {stack && viewActions(stack).map(({ label, key, icon, run, isPressed }) => (
          <IconButton key={label} label={label} title={`${label} (${key})`} aria-pressed={isPressed} onClick={run}>{icon}</IconButton>
        ))}
      </div>
      <div class="grow" />
      <div class="bar-group">
        {(viewer.activeSet.value?.kind === 'volume' || canBePlanes(viewer.activeSet.value)) && (
          <IconButton label="Planes (MPR)" title="Planes (M)" aria-pressed={viewer.activeSet.value?.kind === 'volume'} onClick={() => viewer.togglePlanes()}><Box /></IconButton>
        )}
        <Menu
          label="Layout"
          icon={<Grid2x2 />}
          items={[
            ...LAYOUTS.map((layout): MenuItem => ({
              label: layout.rows * layout.columns === 1 ? 'One viewport' : `${layout.rows} × ${layout.columns}`,
              icon: layout.columns === 1 ? <Square /> : layout.rows === 1 ? <SquareSplitHorizontal /> : <Grid2x2 />,
              isChecked: viewer.isSingle.value ? layout.rows * layout.columns === 1 : viewer.layout.value === layout,
              onSelect: () => viewer.setLayout(layout)
            })),
            null,
            toggle('Scroll together', <Link2 />, viewer.isLinked),
            toggle('Reference lines', <Minus />, viewer.hasReferenceLines)
          ]}
        />
        <IconButton class="wide-only" label="Attributes" title="Attributes (T)" aria-pressed={areTagsOpen} onClick={toggleTags}><ScrollText /></IconButton>
        <IconButton class="wide-only" label="Keys, mouse and touch" title="Help (?)" onClick={openHelp}><CircleHelp /></IconButton>
        <Menu
          label="More"
          icon={<Ellipsis />}
          items={[
            ...(stack ? viewActions(stack).map(({ label, icon, run }): MenuItem => ({ label, icon, onSelect: run })) : []),
            null,
            { label: 'Attributes', icon: <ScrollText />, onSelect: toggleTags },
            toggle('Texts on the image', <TextSelect />, viewer.hasText),
            null,
            { label: 'Image set', icon: <ListTree />, href: `/console/stores/${datastoreId}/sets/${imageSetId}` },
            ...(config.value.ohif ? [{ label: 'Open in OHIF', icon: <ExternalLink />, onSelect: () => void openOhif(datastoreId, viewer.activeSet.value?.instances[0]?.studyUid) }] : []),
            { label: 'Help', icon: <CircleHelp />, onSelect: openHelp }
          ]}
        />
      </div>
    </header>
  )
}

function choose(viewer: ViewerState, tool: Tool): void {
  draft.value = undefined
  viewer.tool.value = tool
}

function toggle(label: string, icon: ComponentChildren, of: { value: boolean }): MenuItem {
  return { label, icon, isChecked: of.value, onSelect: () => (of.value = !of.value) }
}

function viewActions(stack: StackController) {
  return [
    { label: 'Invert', key: 'I', icon: <Contrast />, run: () => stack.invert(), isPressed: stack.inverse.value },
    { label: 'Rotate', key: 'R', icon: <RotateCw />, run: () => stack.rotate(90), isPressed: undefined },
    { label: 'Flip left and right', key: 'H', icon: <FlipVertical2 />, run: () => stack.flip('x'), isPressed: undefined },
    { label: 'Flip top and bottom', key: 'V', icon: <FlipHorizontal2 />, run: () => stack.flip('y'), isPressed: undefined },
    { label: 'Fit', key: 'F', icon: <Maximize />, run: () => stack.fit(), isPressed: undefined },
    { label: 'One to one, 1:1', key: 'O', icon: <span class="one-to-one" aria-hidden="true">1:1</span>, run: () => stack.oneToOne(), isPressed: undefined },
    { label: 'Reset', key: 'X', icon: <RotateCcw />, run: () => stack.reset(), isPressed: undefined }
  ]
}

function Presets({ stack }: { stack: StackController }) {
  const { file, modality } = stack.presets.value
  const shown = stack.shown.value
  const choice = stack.choice.value
  if (stack.isColour.value) return null
  const text = shown ? windowText(shown, false) : ''
  const name = shown?.voiName
  const items: (MenuItem | null)[] = [
    ...file.map((preset, i): MenuItem => ({
      ...labelled(preset.name, preset.voi.kind === 'window' ? preset.voi.window : undefined),
      isChecked: choice.kind === 'file' && choice.number === i,
      onSelect: () => stack.choose(preset, i)
    })),
    ...(file.length > 0 && modality.length > 0 ? [null] : []),
    ...modality.map((preset): MenuItem => ({
      ...labelled(preset.name, preset.voi.kind === 'window' ? preset.voi.window : undefined),
      isChecked: choice.kind === 'preset' && choice.preset.name === preset.name,
      onSelect: () => stack.choose(preset)
    })),
    ...(file.length + modality.length > 0 ? [null] : []),
    ...(file.length === 0 ? [{ label: (choice.kind === 'file' && shown?.voiName) || 'Full range', isChecked: choice.kind === 'file', onSelect: () => stack.resetWindow() }] : []),
    { label: 'Automatic', isChecked: choice.kind === 'own' && choice.name === 'Automatic', onSelect: () => stack.automatic() }
  ]
  return (
    <Menu label={`Presets: ${[name || 'Window', text === name ? '' : text].filter(Boolean).join(' ')}`} look="quiet" items={items} align="start">
      <span class="preset-text">
        <span class="preset-name">{name || 'Window'}</span>{' '}
        <span class="soft number preset-numbers">{text === name ? '' : text}</span>
      </span>
      <ChevronDown />
    </Menu>
  )
}

function labelled(name: string, window: { center: number; width: number } | undefined): Pick<MenuItem, 'label' | 'note'> {
  return { label: name, note: window && `W ${window.width} L ${window.center}` }
}

function Cine({ stack }: { stack: StackController }) {
  const isPlaying = stack.isPlaying.value
  const fps = stack.fps.value
  const set = (value: number): void => {
    stack.fps.value = Math.min(MOST_FPS, Math.max(LEAST_FPS, Math.round(value)))
  }
  return (
    <span class="cine">
      <IconButton label={isPlaying ? 'Stop' : 'Play'} title={`${isPlaying ? 'Stop' : 'Play'} (Space)`} aria-pressed={isPlaying} onClick={() => (isPlaying ? stack.stop() : stack.play())}>
        {isPlaying ? <Pause /> : <Play />}
      </IconButton>
      {isPlaying && (
        <span class="fps">
          <IconButton label="Slower" onClick={() => set(fps - (fps > 10 ? 5 : 1))}><Minus /></IconButton>
          <span class="number small" title={stack.rate.isFromFile && Math.round(stack.rate.fps) === Math.round(fps) ? 'As the file says' : undefined}>{Math.round(fps)}/s</span>
          <IconButton label="Faster" onClick={() => set(fps + (fps >= 10 ? 5 : 1))}><Plus /></IconButton>
        </span>
      )}
    </span>
  )
}
