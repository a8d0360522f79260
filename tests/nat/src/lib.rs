//! A lab of network namespaces with NATs of the kernel.
