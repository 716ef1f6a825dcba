import { useEffect, useState } from 'preact/hooks'

const QUIET_MS = 1_500

interface Wanted {
  /** What the mouse shows that a drop would do. */
  readonly effect: 'copy' | 'none'
  readonly drop?: (files: DataTransfer) => void
  /** Whether nothing else on the page is told of files. */
  readonly isAlone?: boolean
}

/**
 * Whether files are dragged over the page. They are taken wherever they are dropped: the browser would leave the page for them.
 * What is wanted is taken anew whenever `inputs` change.
 */
export function useFileDrag({ effect, drop, isAlone = false }: Wanted, inputs: readonly unknown[]): boolean {
  const [isOver, setOver] = useState(false)
  useEffect(() => {
    let depth = 0
    let idle: ReturnType<typeof setTimeout> | undefined
    const end = (): void => {
      clearTimeout(idle)
      depth = 0
      setOver(false)
    }
    const take = (event: DragEvent): boolean => {
      if (!event.dataTransfer?.types.includes('Files')) return false
      event.preventDefault()
      if (isAlone) event.stopPropagation()
      return true
    }
    // Browsers tell of a drag that lasts several times a second. Its end is not told by all of them where nothing may be dropped.
    const lasts = (): void => {
      clearTimeout(idle)
      idle = setTimeout(end, QUIET_MS)
      setOver(true)
    }
    const enter = (event: DragEvent): void => {
      if (!take(event)) return
      depth++
      lasts()
    }
    const over = (event: DragEvent): void => {
      if (!take(event)) return
      lasts()
      event.dataTransfer!.dropEffect = effect
    }
    const leave = (event: DragEvent): void => {
      if (!take(event)) return
      depth = Math.max(0, depth - 1)
      if (depth === 0) end()
    }
    const dropped = (event: DragEvent): void => {
      if (!take(event)) return
      end()
      drop?.(event.dataTransfer!)
    }
    const listeners = [['dragenter', enter], ['dragover', over], ['dragleave', leave], ['drop', dropped]] as const
    for (const [name, listener] of listeners) window.addEventListener(name, listener, isAlone)
    return () => {
      clearTimeout(idle)
      for (const [name, listener] of listeners) window.removeEventListener(name, listener, isAlone)
    }
  }, inputs)
  return isOver
}
