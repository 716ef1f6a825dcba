// Gets the viewer ready while a page that leads to it is on show: its script, and the decoders.

let started = false

export function preloadViewer(): void {
  if (started) return
  started = true
  const start = (): void => {
    void import('./Viewer').then(({ warmUp }) => warmUp()).catch(() => {
      started = false
    })
  }
  if ('requestIdleCallback' in window) requestIdleCallback(start, { timeout: 2000 })
  else setTimeout(start, 500)
}
