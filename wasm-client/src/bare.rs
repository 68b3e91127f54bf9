//! What std would bring, and what a page need not download: an allocator of 400 bytes, since no
//! more than a payload is ever allocated at a time, and a panic that stops without a message,
//! since nobody reads one here.

use core::panic::PanicInfo;

use lol_alloc::{FreeListAllocator, LockedAllocator};

#[global_allocator]
static ALLOCATOR: LockedAllocator<FreeListAllocator> =
    LockedAllocator::new(FreeListAllocator::new());

#[panic_handler]
fn stop(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
