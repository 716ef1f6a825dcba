// Stands for what starts Cornerstone's worker for statistics of segmentations, 2.9 MB that nothing here asks for.

export function registerComputeWorker(): never {
  throw new Error('The viewer has no statistics of segmentations.')
}
