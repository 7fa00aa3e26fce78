"""Faults of the whole system: a page, an object or a task that one part gives and another does not take, or keeps.

Most are own mutants of the seams between the parts; what the parts do by themselves has faults of its own.
"""

from __future__ import annotations

from . import Faults

OWN = "own mutant of the seams between the parts"
SLUB = "model.slub"

_fault = Faults("system", "model.system", OWN)

FAULTS = (
    _fault(
        "user-page-lost",
        "a page of user memory whose last reference is gone is not given back",
        "free_folio",
        "    free_the_page(m, cpu, page, 0)\n",
        "",
        ("C1", "C2", "B4"),
    ),
    _fault(
        "user-page-keeps-use",
        "a page of user memory is freed and still said to be anonymous",
        "free_folio",
        "    clear_use(m, page)\n",
        "",
        ("C1", "L2"),
    ),
    _fault(
        "user-page-unreferenced",
        "a page that direct reclaim has found is used without a reference",
        "user_page_continues",
        "    m.pages.folio[page].refcount = 1\n",
        "",
        ("checks",),
    ),
    _fault(
        "slab-on-lru",
        "the pages of a slab that reclaim has made room for are still marked as on the LRU",
        "new_slab_continues",
        "        make_slab(m, cache, page, smallest)\n",
        "        make_slab(m, cache, page, smallest)\n        m.pages.folio[page].lru = True\n",
        ("C4", "C1"),
    ),
    _fault(
        "slab-of-other-page",
        "the slab is made of another page than the one that reclaim has found",
        "new_slab_continues",
        "        make_slab(m, cache, page, smallest)\n",
        "        page = 0\n        make_slab(m, cache, page, smallest)\n",
        ("C6", "C4", "C1", "B18"),
    ),
    _fault(
        "slab-kept-by-nobody",
        "a slab that is given up is not given back to the page allocator",
        "__free_slab",
        "    free_pages(m.pages, cpu, page, order)\n",
        "",
        ("C3", "C1", "B18"),
        module=SLUB,
    ),
    _fault(
        "slab-not-accounted",
        "the pages of a new slab are not counted",
        "make_slab",
        "    m.nr_slab += 1 << order  # account_slab()\n",
        "",
        ("C5", "C2"),
        module=SLUB,
    ),
    _fault(
        "cpu-slab-overwritten",
        "a cpu slab that was installed while a task reclaimed is dropped",
        "retry_load_slab",
        "        deactivate_slab(m, cache, cpu, flush_slab, flush_freelist)\n",
        "",
        ("S5", "S2"),
        "the window that retry_load_slab of ___slab_alloc() closes",
        scope="pairs",
        module=SLUB,
    ),
    _fault(
        "task-struct-leaked",
        "a task that ends is forgotten, and its task_struct is not freed",
        "release_task",
        "    free_object(m, TASK_STRUCT_CACHEP, object)\n",
        "",
        ("C1-tasks",),
        "free_task_struct() left out",
        scope="contents",
    ),
    _fault(
        "child-not-forgotten",
        "a fork that fails keeps the number of its child",
        "request_ends",
        "        t.child = None\n",
        "",
        ("C1-tasks",),
    ),
    _fault(
        "boost-kept",
        "a request leaves a boost of the watermarks behind",
        "get_page_of_type",
        "    return get_page_from_freelist(",
        "    m.zone[0].watermark_boost = 1\n    return get_page_from_freelist(",
        ("B17",),
    ),
    _fault(
        "memalloc-kept",
        "a task that has reclaimed keeps PF_MEMALLOC",
        "end_direct_reclaim",
        "    current.memalloc = False\n",
        "",
        ("R9-tasks",),
        "memalloc_noreclaim_restore() left out",
        module="model.slowpath",
    ),
    _fault(
        "write-not-made",
        "a task that wrote to its memory finds what was there before",
        "touch",
        "        m.use[page].content = m.next_content(m.use[page].content)\n",
        "        m.use[page].content = m.use[page].content\n",
        ("C8", "R-contents"),
        scope="contents",
    ),
    _fault(
        "child-expects-zero",
        "a child that was born after reclaim finds zeros where its parent had written",
        "end_fork",
        "            m.pages.mm[child].expected[address] = m.pages.mm[task].expected[address]\n",
        "            m.pages.mm[child].expected[address] = 0\n",
        ("R-contents", "C8"),
        scope="contents",
    ),
    _fault(
        "swapped-clean",
        "a page is added to the swap cache and not marked dirty, so that it is dropped",
        "add_to_swap",
        "    folio_mark_dirty(m, page)\n",
        "",
        ("C8-clean",),
        module="model.swap",
        scope="contents",
    ),
)
