// The table: an ARIA grid of 10,000 rows of which only those in sight are in the document. Rows are made once and filled
// again as one scrolls; a cell is written when its text differs from what stands there. That, and not a framework, is
// what keeps 2,000 changes a second cheap, so this element renders by hand.
//
// One cell is in the tab order. Arrows, Home, End, Page Up and Page Down move it, by portfolio: it goes along when its
// row moves. Row 0 is the head, where Enter sorts.
import type { Row } from '../store/book.ts'
import type { Model } from '../store/model.ts'
import { COLUMNS } from './columns.ts'

const ROW_PX = 34
const SPARE_ROWS = 4
const FLASH_MS = 900
/** Up to here the style sheet leaves five columns, and little room for each. */
const NARROW_PX = 560

interface Line {
  element: HTMLElement
  cells: HTMLElement[]
  texts: string[]
  kinds: string[]
  fill: HTMLElement
  id: string
  top: number
  movedMs: number
}

export class PortfolioGrid extends HTMLElement {
  model!: Model
  private readonly body = document.createElement('div')
  private readonly heads: HTMLButtonElement[] = []
  private readonly lines: Line[] = []
  private stop: (() => void) | undefined
  private resized: ResizeObserver | undefined
  /** Where the keyboard is: a portfolio's row, or the head where `id` is empty. */
  private cursor = { id: '', column: 0 }
  /** The place among the rows where the keyboard's row was last. */
  private place = 0
  private narrow = false
  private pointed = false
  private focused = false

  connectedCallback(): void {
    this.setAttribute('role', 'grid')
    this.setAttribute('aria-label', 'Portfolios')
    this.setAttribute('aria-colcount', String(COLUMNS.length))
    this.body.className = 'grid-body'
    this.body.setAttribute('role', 'rowgroup')
    this.replaceChildren(this.head(), this.body)
    this.listen()
    this.resized = new ResizeObserver(() => this.draw())
    this.resized.observe(this)
    this.stop = this.model.watch((heard) => {
      if (heard === 'rows') this.draw()
    })
    this.draw()
  }

  disconnectedCallback(): void {
    this.stop?.()
    this.resized?.disconnect()
    // Neither a pointer nor the keyboard leaves what is not there any more.
    this.model.hold(false)
  }

  /** Put the keyboard on a portfolio's row, where it was before its details were opened; in the head if it is not shown. */
  focusRow(id: string): void {
    const index = this.model.view.rows.findIndex((row) => row.id === id)
    this.cursor.id = index < 0 ? '' : id
    if (index >= 0) this.bringIntoView(index)
    this.keepCursor()
  }

  private head(): HTMLElement {
    const head = document.createElement('div')
    head.className = 'grid-row grid-head'
    head.setAttribute('role', 'row')
    head.setAttribute('aria-rowindex', '1')
    COLUMNS.forEach((column, index) => {
      const cell = document.createElement('div')
      cell.setAttribute('role', 'columnheader')
      cell.setAttribute('aria-colindex', String(index + 1))
      cell.dataset['column'] = column.key
      cell.classList.toggle('numeric', column.numeric)
      const button = document.createElement('button')
      button.type = 'button'
      button.title = column.title
      button.tabIndex = -1
      button.addEventListener('click', () => this.sortBy(index))
      button.addEventListener('focus', () => {
        this.cursor = { id: '', column: index }
        this.markCursor()
      })
      cell.append(button)
      head.append(cell)
      this.heads.push(button)
    })
    const group = document.createElement('div')
    group.setAttribute('role', 'rowgroup')
    group.className = 'grid-head-group'
    group.append(head)
    return group
  }

  private listen(): void {
    this.addEventListener('scroll', () => this.draw(), { passive: true })
    this.addEventListener('keydown', (event) => this.onKey(event))
    this.body.addEventListener('click', (event) => this.onClick(event))
    // A finger points only while it touches: nothing would let the order go again.
    this.body.addEventListener('pointerenter', (event) => this.point(event.pointerType !== 'touch'))
    this.body.addEventListener('pointerleave', () => this.point(false))
    this.body.addEventListener('focusin', (event) =>
      this.focusOn((event.target as HTMLElement).matches(':focus-visible')),
    )
    this.body.addEventListener('focusout', ({ relatedTarget }) => {
      // From cell to cell: the order must not be let go in between.
      if (!this.body.contains(relatedTarget as Node | null)) this.focusOn(false)
    })
  }

  private point(pointed: boolean): void {
    this.pointed = pointed
    this.model.hold(this.pointed || this.focused)
  }

  private focusOn(focused: boolean): void {
    this.focused = focused
    this.model.hold(this.pointed || this.focused)
  }

  private sortBy(index: number): void {
    const { key, numeric } = COLUMNS[index] as (typeof COLUMNS)[number]
    const { sort } = this.model.link
    // Numbers are of interest from the largest down, names from A on.
    this.model.sort({ key, descending: sort.key === key ? !sort.descending : numeric })
  }

  private onClick(event: MouseEvent): void {
    const target = event.target as HTMLElement
    const line = this.lines.find((each) => each.id && each.element.contains(target))
    if (!line) return
    const column = line.cells.findIndex((cell) => cell.contains(target))
    this.cursor = { id: line.id, column: Math.max(0, column) }
    this.open(line.id, column)
  }

  private open(id: string, column: number): void {
    const row = this.model.book.rows.get(id)
    if (!row) return
    if (COLUMNS[column]?.key === 'advisorId') this.model.filter({ advisorId: row.advisorId })
    else this.model.show({ portfolioId: id })
  }

  private onKey(event: KeyboardEvent): void {
    if (event.altKey || event.metaKey) return
    const rows = this.model.view.rows
    const page = Math.max(1, Math.floor(this.clientHeight / ROW_PX) - 2)
    // Row 0 is the head.
    let row = this.findCursor() + 1
    let { column } = this.cursor
    const shown = this.heads.flatMap((head, index) => (head.offsetParent ? [index] : []))
    const place = shown.indexOf(column)
    switch (event.key) {
      case 'ArrowDown':
        row += 1
        break
      case 'ArrowUp':
        row -= 1
        break
      case 'ArrowRight':
        column = shown[place + 1] ?? column
        break
      case 'ArrowLeft':
        column = shown[place - 1] ?? column
        break
      case 'PageDown':
        row += page
        break
      case 'PageUp':
        row -= page
        break
      case 'Home':
        if (event.ctrlKey) row = 1
        else column = shown[0] ?? 0
        break
      case 'End':
        if (event.ctrlKey) row = rows.length
        else column = shown.at(-1) ?? column
        break
      case 'Enter':
      case ' ':
        // In the head the button itself does it.
        if (row === 0) return
        event.preventDefault()
        this.open(this.cursor.id, column)
        return
      default:
        return
    }
    event.preventDefault()
    row = Math.min(rows.length, Math.max(0, row))
    this.cursor = { id: row === 0 ? '' : (rows[row - 1]?.id ?? ''), column }
    if (row > 0) this.bringIntoView(row - 1)
    this.keepCursor()
  }

  private bringIntoView(index: number): void {
    const top = index * ROW_PX
    const height = this.clientHeight - ROW_PX
    if (top < this.scrollTop) this.scrollTop = top
    else if (top + ROW_PX > this.scrollTop + height) this.scrollTop = top + ROW_PX - height
  }

  /** Draw, with the keyboard where the cursor is. */
  private keepCursor(): void {
    this.draw(true)
    this.cursorCell()?.focus({ preventScroll: true })
  }

  /** The place of the keyboard's row; −1 in the head. Where the row is gone, the keyboard is on what took its place. */
  private findCursor(): number {
    const { rows } = this.model.view
    const { id } = this.cursor
    if (!id) return -1
    if (rows[this.place]?.id === id) return this.place
    const place = rows.findIndex((row) => row.id === id)
    this.place = place < 0 ? Math.min(this.place, rows.length - 1) : place
    this.cursor.id = rows[this.place]?.id ?? ''
    return this.cursor.id ? this.place : -1
  }

  private cursorCell(): HTMLElement | undefined {
    const { id, column } = this.cursor
    if (!id) return this.heads[column]
    return this.lines.find((line) => line.id === id)?.cells[column]
  }

  /** Bring the document up to the view. The row that the keyboard is on stays in the document, in sight or not. */
  private draw(hasFocus = this.body.contains(document.activeElement)): void {
    const { rows } = this.model.view
    const height = this.clientHeight - ROW_PX
    this.narrow = this.offsetWidth <= NARROW_PX
    const first = Math.max(0, Math.floor(this.scrollTop / ROW_PX) - SPARE_ROWS)
    const shown = Math.max(0, Math.min(rows.length - first, Math.ceil(height / ROW_PX) + 2 * SPARE_ROWS))
    const places = Array.from({ length: shown }, (_, index) => first + index)
    const cursor = hasFocus ? this.findCursor() : -1
    if (cursor >= 0 && (cursor < first || cursor >= first + shown)) places.push(cursor)
    this.body.style.height = `${rows.length * ROW_PX}px`
    this.setAttribute('aria-rowcount', String(rows.length + 1))
    while (this.lines.length < places.length) this.lines.push(this.line())
    this.lines.forEach((line, index) => {
      const place = places[index]
      this.fill(line, place === undefined ? undefined : rows[place], place ?? 0)
    })
    this.markHeads()
    this.markCursor()
    // The row that has the focus may stand in another line now.
    const cell = this.cursorCell()
    if (hasFocus && document.activeElement !== cell) cell?.focus({ preventScroll: true })
  }

  private fill(line: Line, row: Row | undefined, index: number): void {
    line.element.hidden = !row
    if (!row) {
      line.id = ''
      return
    }
    const top = index * ROW_PX
    if (line.top !== top) {
      line.top = top
      line.element.style.transform = `translateY(${top}px)`
      line.element.setAttribute('aria-rowindex', String(index + 2))
    }
    const another = line.id !== row.id
    line.id = row.id
    COLUMNS.forEach((column, place) => {
      const text = (this.narrow && column.brief?.(row)) || column.text(row)
      this.write(line, place, text, column.kind?.(row) ?? '')
      if (column.mark) markAs(line.cells[place] as HTMLElement, column.mark(row))
    })
    line.fill.style.transform = `scaleX(${(row.riskNumber ?? 0) / 99})`
    line.element.setAttribute('aria-selected', String(row.id === this.model.link.portfolioId))
    this.flash(line, row, another)
  }

  private write(line: Line, place: number, text: string, kind: string): void {
    const cell = line.cells[place] as HTMLElement
    if (line.texts[place] !== text) {
      line.texts[place] = text
      ;(cell.lastElementChild as HTMLElement).textContent = text
    }
    if (line.kinds[place] !== kind) {
      const before = line.kinds[place]
      if (before) cell.classList.remove(before)
      if (kind) cell.classList.add(kind)
      line.kinds[place] = kind
    }
  }

  /** Light a row up whose risk number has just moved. Scrolling to a row is no move. */
  private flash(line: Line, row: Row, another: boolean): void {
    if (!another && line.movedMs === row.movedMs) return
    line.movedMs = row.movedMs
    const risk = line.cells[2] as HTMLElement
    risk.classList.remove('flash-up', 'flash-down')
    if (another || performance.now() - row.movedMs > FLASH_MS) return
    // Reading a size has the class's absence take effect, so that the animation begins again.
    void risk.offsetWidth
    risk.classList.add(row.movedUp ? 'flash-up' : 'flash-down')
  }

  private line(): Line {
    const element = document.createElement('div')
    element.className = 'grid-row'
    element.setAttribute('role', 'row')
    const fill = document.createElement('span')
    const cells = COLUMNS.map((column, index) => {
      const cell = document.createElement('div')
      cell.setAttribute('role', 'gridcell')
      cell.setAttribute('aria-colindex', String(index + 1))
      cell.dataset['column'] = column.key
      cell.classList.toggle('numeric', column.numeric)
      cell.tabIndex = -1
      cell.addEventListener('focus', () => {
        const line = this.lines.find((each) => each.element === element)
        if (!line?.id) return
        this.cursor = { id: line.id, column: index }
        this.place = line.top / ROW_PX
      })
      if (column.key === 'riskNumber') cell.append(gauge(fill))
      if (column.mark) cell.append(mark())
      // A span, which is cut short with an ellipsis: half a number would look like another one.
      cell.append(document.createElement('span'))
      element.append(cell)
      return cell
    })
    this.body.append(element)
    return { element, cells, texts: [], kinds: [], fill, id: '', top: -1, movedMs: 0 }
  }

  private markHeads(): void {
    const { sort } = this.model.link
    COLUMNS.forEach((column, index) => {
      const head = this.heads[index] as HTMLButtonElement
      const on = column.key === sort.key
      const text = column.label + (on ? (sort.descending ? ' ↓' : ' ↑') : '')
      if (head.textContent !== text) head.textContent = text
      head.parentElement?.setAttribute('aria-sort', on ? (sort.descending ? 'descending' : 'ascending') : 'none')
    })
  }

  /** Exactly one cell is in the tab order; the head's first while the keyboard's row is not in sight. */
  private markCursor(): void {
    const cell = this.cursorCell()
    for (const head of this.heads) head.tabIndex = -1
    for (const line of this.lines) for (const each of line.cells) each.tabIndex = -1
    const stop = cell ?? this.heads[this.cursor.column] ?? this.heads[0]
    if (stop) stop.tabIndex = 0
  }
}

/** A bar as long as the risk number is high; the number beside it says the same. */
function gauge(fill: HTMLElement): HTMLElement {
  const track = document.createElement('span')
  track.className = 'gauge'
  track.setAttribute('aria-hidden', 'true')
  fill.className = 'gauge-fill'
  track.append(fill)
  return track
}

/** A word that stays to be read, however long what it stands beside is. */
function mark(): HTMLElement {
  const word = document.createElement('span')
  word.className = 'row-mark'
  word.hidden = true
  return word
}

function markAs(cell: HTMLElement, word: string): void {
  const mark = cell.firstElementChild as HTMLElement
  if (mark.textContent === word) return
  mark.textContent = word
  mark.hidden = !word
}

customElements.define('portfolio-grid', PortfolioGrid)
