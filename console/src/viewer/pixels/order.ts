// In which order the frames of a stack are fetched.

/** All positions from `current` outwards, two ahead for each one behind in the direction of the last scroll. */
export function outwards(count: number, current: number, direction: 1 | -1 = 1): number[] {
  const order: number[] = []
  if (count <= 0) return order
  const start = Math.min(Math.max(current, 0), count - 1)
  order.push(start)
  let ahead = start + direction
  let behind = start - direction
  const isInside = (at: number): boolean => at >= 0 && at < count
  while (isInside(ahead) || isInside(behind)) {
    for (let i = 0; i < 2; i++) {
      if (isInside(ahead)) order.push(ahead)
      ahead += direction
    }
    if (isInside(behind)) order.push(behind)
    behind -= direction
  }
  return order
}
